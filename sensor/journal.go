package sensor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/otus-project/otus/event"
)

// journal remembers at which place in the stream of frames each command took effect, so that a replay gives the
// same result again. A command counts as journaled once it is on the disk.
type journal struct {
	file    *os.File
	entries []journalEntry // those a restart may still have to repeat
}

type journalEntry struct {
	// Position is the number of frames taken in before the command.
	Position uint64        `json:"position"`
	Command  event.Command `json:"command"`
}

// openJournal reads what is there; a torn last line, left by a crash while writing, is cut off.
func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open command journal: %w", err)
	}
	j := &journal{file: f}
	in := bufio.NewReader(f)
	var good int64
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // no newline: torn
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("read command journal %q: %w", path, err)
		}
		var e journalEntry
		if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil {
			f.Close()
			return nil, fmt.Errorf("read command journal %q at byte %d: %w", path, good, err)
		}
		j.entries = append(j.entries, e)
		good += int64(len(line))
	}
	if err = f.Truncate(good); err == nil {
		_, err = f.Seek(good, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open command journal %q: %w", path, err)
	}
	return j, nil
}

// add makes a command durable before it is applied.
func (j *journal) add(e journalEntry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal command %d: %w", e.Command.ID, err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("journal command %d: %w", e.Command.ID, err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal command %d: %w", e.Command.ID, err)
	}
	j.entries = append(j.entries, e)
	return nil
}

// last is the highest command id ever journaled.
func (j *journal) last() uint64 {
	if n := len(j.entries); n > 0 {
		return j.entries[n-1].Command.ID
	}
	return 0
}

// due gives the commands that took effect at or before position and are newer than applied.
func (j *journal) due(position, applied uint64) []event.Command {
	var due []event.Command
	for _, e := range j.entries {
		if e.Position <= position && e.Command.ID > applied {
			due = append(due, e.Command)
		}
	}
	return due
}

// pendingAfter reports whether commands newer than applied wait for a later position.
func (j *journal) pendingAfter(applied uint64) bool { return j.last() > applied }

// trim forgets entries a checkpoint covers, but keeps the last one, which holds the highest id.
func (j *journal) trim(applied uint64) error {
	keep := 0
	for keep < len(j.entries)-1 && j.entries[keep].Command.ID <= applied {
		keep++
	}
	if keep < 256 { // rewriting costs a flush; let some gather
		return nil
	}
	var out bytes.Buffer
	for _, e := range j.entries[keep:] {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("trim command journal: %w", err)
		}
		out.Write(append(line, '\n'))
	}
	path := j.file.Name()
	if err := replaceFile(path, out.Bytes()); err != nil {
		return fmt.Errorf("trim command journal: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("trim command journal: %w", err)
	}
	j.file.Close()
	j.file = f
	j.entries = append([]journalEntry(nil), j.entries[keep:]...)
	return nil
}

func (j *journal) close() error { return j.file.Close() }
