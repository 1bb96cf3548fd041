package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

func completionCommand() command {
	return command{
		name:     "completion",
		operands: "bash|zsh|fish",
		verbs:    []string{"bash", "zsh", "fish"},
		short:    "print completions for a shell",
		long: `bash:  source <(resonate completion bash)
zsh:   source <(resonate completion zsh)
fish:  resonate completion fish | source`,
		define: func(set *flag.FlagSet, c console) action {
			return func(_ context.Context, operands []string) error {
				shells := map[string]func([]command) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
				if len(operands) != 1 || shells[operands[0]] == nil {
					return usageError{command: "completion", cause: "want bash, zsh or fish"}
				}
				_, err := io.WriteString(c.Out, shells[operands[0]](commands()))
				return err
			}
		},
	}
}

// flagWords lists a command's flags with their dash.
func flagWords(cmd command) []string {
	var words []string
	cmd.flags().VisitAll(func(f *flag.Flag) { words = append(words, "-"+f.Name) })
	return words
}

func commandNames(table []command) []string {
	var names []string
	for _, cmd := range table {
		names = append(names, cmd.name)
	}
	return names
}

// verbsOf are the words that may follow a command.
func verbsOf(cmd command, table []command) []string {
	if cmd.name == "help" {
		return commandNames(table)
	}
	return cmd.verbs
}

// bashCompletion offers commands first, then the flags or verbs of the command, and else files.
func bashCompletion(table []command) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# bash completion for resonate
_resonate() {
    local word=${COMP_WORDS[COMP_CWORD]} command=daemon flags= verbs= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        %s) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $command in
`, strings.Join(commandNames(table), "|"))
	for _, cmd := range table {
		fmt.Fprintf(&b, "    %s) flags=%q verbs=%q ;;\n", cmd.name, strings.Join(flagWords(cmd), " "), strings.Join(verbsOf(cmd, table), " "))
	}
	fmt.Fprintf(&b, `    esac
    COMPREPLY=()
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$word"))
    elif ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W %q -- "$word"))
    elif ((i == COMP_CWORD - 1)); then
        COMPREPLY=($(compgen -W "$verbs" -- "$word"))
    fi
}
complete -o default -F _resonate resonate
`, strings.Join(commandNames(table), " "))
	return b.String()
}

// zshCompletion offers the same as bash, with the commands' descriptions.
func zshCompletion(table []command) string {
	var b strings.Builder
	b.WriteString("#compdef resonate\n_resonate() {\n    local -a commands flags verbs\n    commands=(\n")
	for _, cmd := range table {
		fmt.Fprintf(&b, "        %s\n", singleQuoted(cmd.name+":"+strings.ReplaceAll(cmd.short, ":", `\:`)))
	}
	b.WriteString("    )\n    case ${words[2]} in\n")
	for _, cmd := range table {
		pattern := cmd.name
		if cmd.name == daemonName {
			pattern += "|-*"
		}
		fmt.Fprintf(&b, "    %s) flags=(%s) verbs=(%s) ;;\n", pattern, strings.Join(flagWords(cmd), " "), strings.Join(verbsOf(cmd, table), " "))
	}
	b.WriteString(`    esac
    if [[ $PREFIX == -* ]]; then
        compadd -a flags
    elif ((CURRENT == 2)); then
        _describe command commands
    elif ((CURRENT == 3)) && (($#verbs)); then
        compadd -a verbs
    else
        _files
    fi
}
compdef _resonate resonate
`)
	return b.String()
}

// fishCompletion has a line for each command, verb and flag.
func fishCompletion(table []command) string {
	var b strings.Builder
	b.WriteString("# fish completion for resonate\n")
	for _, cmd := range table {
		fmt.Fprintf(&b, "complete -c resonate -f -n __fish_use_subcommand -a %s -d %s\n", cmd.name, singleQuoted(cmd.short))
		when := "'__fish_seen_subcommand_from " + cmd.name + "'"
		if cmd.name == daemonName {
			when = "__fish_use_subcommand"
		}
		if verbs := verbsOf(cmd, table); len(verbs) > 0 {
			fmt.Fprintf(&b, "complete -c resonate -n %s -a %s\n", when, singleQuoted(strings.Join(verbs, " ")))
		}
		cmd.flags().VisitAll(func(f *flag.Flag) {
			_, text := flag.UnquoteUsage(f)
			argument := " -r"
			if isSwitch(f) {
				argument = ""
			}
			fmt.Fprintf(&b, "complete -c resonate -n %s -o %s%s -d %s\n", when, f.Name, argument, singleQuoted(text))
		})
	}
	return b.String()
}

func singleQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
