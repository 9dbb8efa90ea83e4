// Command cmd writes the plug-in lists: go run ./internal/pluglist/cmd protocol|engine ROOT.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/otus-project/otus/internal/pluglist"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: pluglist protocol|engine ROOT")
	}
	var spec pluglist.Spec
	switch args[0] {
	case "protocol":
		spec = pluglist.Protocols(args[1])
	case "engine":
		spec = pluglist.Engines(args[1])
	default:
		return fmt.Errorf("list plug-ins: unknown kind %q, want protocol or engine", args[0])
	}
	source, err := pluglist.Generate(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(spec.Folder, pluglist.File), source, 0o644)
}
