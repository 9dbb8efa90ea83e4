package detect

import (
	"bytes"
	"fmt"

	"github.com/goccy/go-yaml"
)

// decode reads strict YAML. The library panics on some odd tags; a file is never worth a crash.
func decode(data []byte, into any) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("the file is no YAML that can be read (%v)", value)
		}
	}()
	return yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(into)
}
