package detect

import (
	"fmt"
	"net/netip"
	"strings"
)

// Indicators are addresses and names known to be malicious.
type Indicators struct {
	domains   map[string]string
	addresses map[netip.Addr]string
	networks  []indicatorNetwork
}

type indicatorNetwork struct {
	prefix netip.Prefix
	note   string
}

// maxIndicators bounds a list.
const maxIndicators = 1_000_000

// ParseIndicators reads a list in YAML: "domains" and "addresses", each a list of {value, note}. A domain stands
// for the names below it, too; an address may be a prefix.
func ParseIndicators(data []byte) (*Indicators, error) {
	type indicator struct {
		Value string `yaml:"value"`
		Note  string `yaml:"note"`
	}
	var list struct {
		Domains   []indicator `yaml:"domains"`
		Addresses []indicator `yaml:"addresses"`
	}
	if err := decode(data, &list); err != nil {
		return nil, fmt.Errorf("read indicators: %w", err)
	}
	if n := len(list.Domains) + len(list.Addresses); n > maxIndicators {
		return nil, fmt.Errorf("read indicators: %d entries, at most %d allowed", n, maxIndicators)
	}
	out := &Indicators{domains: map[string]string{}, addresses: map[netip.Addr]string{}}
	for _, d := range list.Domains {
		name := strings.Trim(strings.ToLower(d.Value), ".")
		if name == "" || strings.ContainsAny(name, " /:") {
			return nil, fmt.Errorf("read indicators: %q is no domain", d.Value)
		}
		out.domains[name] = d.Note
	}
	for _, a := range list.Addresses {
		if addr, err := netip.ParseAddr(a.Value); err == nil {
			out.addresses[addr.Unmap()] = a.Note
			continue
		}
		prefix, err := netip.ParsePrefix(a.Value)
		if err != nil {
			return nil, fmt.Errorf("read indicators: %q is neither address nor prefix", a.Value)
		}
		out.networks = append(out.networks, indicatorNetwork{prefix.Masked(), a.Note})
	}
	return out, nil
}

// Domain returns the listed domain that name is, or lies below.
func (i *Indicators) Domain(name string) (domain, note string, found bool) {
	for name = strings.Trim(strings.ToLower(name), "."); name != ""; {
		if note, ok := i.domains[name]; ok {
			return name, note, true
		}
		_, rest, more := strings.Cut(name, ".")
		if !more {
			break
		}
		name = rest
	}
	return "", "", false
}

// Address tells whether addr is listed.
func (i *Indicators) Address(addr netip.Addr) (note string, found bool) {
	if note, ok := i.addresses[addr]; ok {
		return note, true
	}
	for _, n := range i.networks {
		if n.prefix.Contains(addr) {
			return n.note, true
		}
	}
	return "", false
}
