package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/otus-project/otus/kql/native"
)

// maxNesting bounds how deep the JSON of a dynamic value may nest.
const maxNesting = 256

// Canonical gives the one form in which JSON is stored: no white space, keys in their order, of a repeated key
// the last value at the place of the first, numbers as they were written, strings with no more escapes than
// needed. So the store never meets text it cannot read, and equal text means equal values.
func Canonical(raw []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var b strings.Builder
	b.Grow(len(raw))
	if err := canonicalValue(d, &b, 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	if _, err := d.Token(); err != io.EOF {
		return "", errors.New("more text after the value")
	}
	return b.String(), nil
}

func canonicalValue(d *json.Decoder, b *strings.Builder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		fmt.Fprint(b, v)
	case json.Number:
		b.WriteString(string(v))
	case string:
		native.WriteJSONString(b, v)
	case json.Delim:
		if depth == maxNesting {
			return fmt.Errorf("nested deeper than %d", maxNesting)
		}
		if v == '[' {
			err = canonicalArray(d, b, depth)
		} else {
			err = canonicalObject(d, b, depth)
		}
		if err != nil {
			return err
		}
		_, err = d.Token() // the closing bracket
		return err
	}
	return nil
}

func canonicalArray(d *json.Decoder, b *strings.Builder, depth int) error {
	b.WriteByte('[')
	for i := 0; d.More(); i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := canonicalValue(d, b, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func canonicalObject(d *json.Decoder, b *strings.Builder, depth int) error {
	type member struct{ key, value string }
	var members []member
	places := make(map[string]int)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		key, ok := token.(string)
		if !ok {
			return fmt.Errorf("want a key, got %v", token)
		}
		var value strings.Builder
		if err := canonicalValue(d, &value, depth+1); err != nil {
			return err
		}
		if at, twice := places[key]; twice {
			members[at].value = value.String()
			continue
		}
		places[key] = len(members)
		members = append(members, member{key, value.String()})
	}
	b.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		native.WriteJSONString(b, m.key)
		b.WriteByte(':')
		b.WriteString(m.value)
	}
	b.WriteByte('}')
	return nil
}

// marshal encodes a Go value without the escapes that guard HTML.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
