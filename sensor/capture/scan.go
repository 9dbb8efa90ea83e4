package capture

import (
	"errors"
	"io"
	"time"
)

// Summary is what a look over captures finds.
type Summary struct {
	Files  int
	Frames uint64
	Bytes  uint64 // on the wire
	// First and Last are the earliest and the latest time; zero without a frame.
	First, Last time.Time
	// Damage lists the files that could not be read to their end.
	Damage []*DamageError
}

// ShiftTo gives the Files.Shift that moves the latest frame to at.
func (s Summary) ShiftTo(at time.Time) time.Duration {
	if s.Frames == 0 {
		return 0
	}
	return at.Sub(s.Last)
}

// Scan reads the captures once without decoding a frame.
func Scan(paths ...string) (Summary, error) {
	files, err := Open(paths...)
	if err != nil {
		return Summary{}, err
	}
	defer files.Close()
	s := Summary{Files: len(files.paths)}
	for {
		frame, err := files.Next()
		var damage *DamageError
		switch {
		case err == io.EOF:
			return s, nil
		case errors.As(err, &damage):
			s.Damage = append(s.Damage, damage)
			continue
		case err != nil:
			return s, err
		}
		s.Frames++
		s.Bytes += uint64(frame.Length)
		if s.Frames == 1 || frame.Time.Before(s.First) {
			s.First = frame.Time
		}
		if s.Frames == 1 || frame.Time.After(s.Last) {
			s.Last = frame.Time
		}
	}
}
