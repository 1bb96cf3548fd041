package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"resonate/control"
)

func treeCommand() command {
	return command{
		name:     "tree",
		operands: "[PATH] [-depth N] [-deleted] [-json]",
		short:    "list what is agreed, of the whole folder or at and below PATH",
		long: `Lists every path with its kind, mode, size, mtime and a short hash: of a file that of its content, of a directory
those over all that lies below it: content (equal: a person would call the directories equal) and state (equal:
there is nothing to exchange). What changes while it is listed may show or not.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			deleted := set.Bool("deleted", false, "list what was deleted, too, as long as it is remembered")
			depth := set.Uint("depth", 0, "list `n` levels below PATH; 0: all")
			return func(ctx context.Context, operands []string) error {
				if len(operands) > 1 {
					return usageError{command: "tree", cause: "one path at most"}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					path, err := optionalPath(folder, operands)
					if err != nil {
						return err
					}
					q := control.TreeQuery{Path: path, Depth: int(min(*depth, 1<<20)), Deleted: *deleted}
					err = printTree(ctx, c, client, q, *asJSON)
					if errors.Is(err, control.ErrNotFound) {
						return stateError{shown(operands[0]), errors.New("nothing is agreed there"), "ask what is known of it: resonate why " + shellWord(operands[0])}
					}
					return err
				})
			}
		},
	}
}

// printTree prints a tree page by page.
func printTree(ctx context.Context, c console, client *control.Client, q control.TreeQuery, asJSON bool) error {
	out := bufio.NewWriter(c.Out)
	list := jsonList{w: out}
	for more := true; more; {
		page, err := client.Tree(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if asJSON {
				err = list.add(e)
			} else {
				_, err = out.WriteString(renderTreeEntry(e, time.Local))
			}
			if err != nil {
				return err
			}
		}
		if n := len(page.Entries); n > 0 {
			q.After = page.Entries[n-1].Path
		}
		more = page.More
	}
	if asJSON {
		if err := list.end(); err != nil {
			return err
		}
	}
	return out.Flush()
}

// shortHash is as much of a hash as a list shows.
const shortHash = 12

// renderTreeEntry writes one line, with times in the given zone.
func renderTreeEntry(e control.TreeEntry, zone *time.Location) string {
	mode, size, mtime, hash, name := "-", "-", "-", "-", shown(e.Path)
	if e.Mode != "" {
		mode = e.Mode
	}
	if e.MTime != nil {
		mtime = e.MTime.In(zone).Format(time.DateTime)
	}
	switch {
	case e.Below != nil:
		size, hash = formatBytes(e.Size), fmt.Sprintf("content %.*s state %.*s", shortHash, e.Below.Content, shortHash, e.Below.State)
		if name = shown(e.Path + "/"); e.Path == "" {
			name = "."
		}
	case e.Hash != "":
		size, hash = formatBytes(e.Size), fmt.Sprintf("%.*s", shortHash, e.Hash)
	case e.Target != "":
		name += " -> " + shown(e.Target)
	}
	return strings.TrimRight(fmt.Sprintf("%-9s  %4s  %10s  %19s  %-12s  %s", e.Kind, mode, size, mtime, hash, name), " ") + "\n"
}
