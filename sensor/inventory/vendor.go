package inventory

import (
	_ "embed"
	"encoding/hex"
	"strings"
	"sync"

	"github.com/otus-project/otus/sensor/packet"
)

//go:embed oui.csv
var ouiTable string

// vendors is the table by the first three bytes; a line that is not "xx:xx:xx,name" is a bug that the test finds.
var vendors = sync.OnceValue(func() map[[3]byte]string {
	table := map[[3]byte]string{}
	for line := range strings.Lines(ouiTable) {
		prefix, name, ok := strings.Cut(strings.TrimSpace(line), ",")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		bytes, err := hex.DecodeString(strings.ReplaceAll(prefix, ":", ""))
		if err != nil || len(bytes) != 3 {
			continue
		}
		table[[3]byte(bytes)] = name
	}
	return table
})

// Vendor names the maker of the interface with that hardware address, "" where it is not in our table or the
// address is made up (locally administered).
func Vendor(mac packet.MAC) string {
	if mac[0]&2 != 0 && mac[0] != 0x52 {
		return ""
	}
	return vendors()[[3]byte(mac[:3])]
}
