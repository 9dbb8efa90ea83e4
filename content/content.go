// Package content embeds the text that ships with the program and that a user could also write: table
// definitions and rules, as YAML. It holds no meaning; each kind is read by its owner.
package content

import (
	"embed"
	"io/fs"
)

//go:embed tables all:rules
var files embed.FS

// FS is the content folder: tables/*.yaml and rules/.
func FS() fs.FS { return files }
