package main

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestCommandsAreDocumented holds docs/commands.md to the command table: a section for each command, and in it each of
// its flags with argument and default, and no flag that it does not have.
func TestCommandsAreDocumented(t *testing.T) {
	sections := commandSections(t)
	for _, cmd := range commands() {
		text, ok := sections[cmd.name]
		if !ok {
			t.Errorf("no section %q", cmd.name)
			continue
		}
		if !strings.Contains(text, usageOf(cmd)+"\n") {
			t.Errorf("%s: no line %q", cmd.name, usageOf(cmd))
		}
		set := cmd.flags()
		for _, f := range cmd.ownFlags() {
			if row := flagRow(f); !strings.Contains(text, "\n"+row) {
				t.Errorf("%s: no row that begins with %q", cmd.name, row)
			}
		}
		if says := strings.Contains(text, "[the daemon's flags](#daemon)"); says != cmd.settings {
			t.Errorf("%s: it says that it takes the daemon's flags: %v, want %v", cmd.name, says, cmd.settings)
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `-([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if set.Lookup(row[1]) == nil {
				t.Errorf("%s: has no flag -%s", cmd.name, row[1])
			}
		}
	}
}

// TestExitCodesAreDocumented holds the table of exit codes to what help says.
func TestExitCodesAreDocumented(t *testing.T) {
	text := commandSections(t)["Conventions"]
	_, list, _ := strings.Cut(conventions, "Exit codes: ")
	for _, code := range strings.Split(strings.TrimSuffix(strings.TrimSpace(list), "."), ", ") {
		number, meaning, _ := strings.Cut(code, " ")
		if row := "| " + number + " | " + meaning; !strings.Contains(text, row) {
			t.Errorf("no row that begins with %q", row)
		}
	}
}

// commandSections splits docs/commands.md by its headings.
func commandSections(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	return sections
}

// flagRow is how a table's row on a flag begins: its name and argument, and its default where it has one.
func flagRow(f *flag.Flag) string {
	argument, _ := flag.UnquoteUsage(f)
	name := "-" + f.Name + " " + strings.ToUpper(argument)
	if isSwitch(f) {
		name = "-" + f.Name
	}
	row := "| `" + name + "` | "
	if f.DefValue != "" && !isSwitch(f) {
		row += f.DefValue + " |"
	}
	return row
}
