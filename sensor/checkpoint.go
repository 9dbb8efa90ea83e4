package sensor

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/otus-project/otus/event"
)

// checkpoint is everything a sensor needs to go on as if it had never stopped.
type checkpoint struct {
	SensorID string
	// Position counts the frames taken in since the first start; the journal's entries refer to it.
	Position uint64
	// NextSequence is the sequence of the next record to be emitted, after those in Pending.
	NextSequence uint64
	// Pending are records emitted but not yet known to be in the spool.
	Pending []event.Record
	// Command is the highest command applied to Stage.
	Command   uint64
	StageTime time.Time
	LastTick  time.Time
	Source    sourceState
	Done      []string
	Stage     []byte
	Evidence  evidenceState
	Health    healthState
}

// sourceState says how far a replay has come.
type sourceState struct {
	Key    string        // names the replay: its files and their sizes
	Shift  time.Duration // added to every frame's time
	Frames uint64        // frames of it taken in
}

// checkpointMagic begins the file; the last byte is the format's version.
var checkpointMagic = []byte("otuscp\x00\x01")

// writeCheckpoint replaces the file in one step: after a crash the old one or the new one is there, whole.
func writeCheckpoint(path string, c *checkpoint) error {
	var body bytes.Buffer
	body.Write(checkpointMagic)
	if err := gob.NewEncoder(&body).Encode(c); err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	data := binary.LittleEndian.AppendUint32(body.Bytes(), crc32.Checksum(body.Bytes(), castagnoli))
	return replaceFile(path, data)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readCheckpoint gives nil where there is none yet.
func readCheckpoint(path string) (*checkpoint, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	if len(data) < len(checkpointMagic)+4 || !bytes.Equal(data[:len(checkpointMagic)-1], checkpointMagic[:len(checkpointMagic)-1]) {
		return nil, fmt.Errorf("read checkpoint %q: not a checkpoint", path)
	}
	if got, want := data[len(checkpointMagic)-1], checkpointMagic[len(checkpointMagic)-1]; got != want {
		return nil, fmt.Errorf("read checkpoint %q: format %d, this program reads format %d", path, got, want)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("read checkpoint %q: checksum does not match", path)
	}
	c := &checkpoint{}
	if err := gob.NewDecoder(bytes.NewReader(body[len(checkpointMagic):])).Decode(c); err != nil {
		return nil, fmt.Errorf("read checkpoint %q: %w", path, err)
	}
	return c, nil
}

// replaceFile writes data beside path, flushes it to the disk and renames it over path.
func replaceFile(path string, data []byte) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
