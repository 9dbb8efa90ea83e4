package kql

import (
	"sort"
	"sync"
)

// declaration describes an operator: its names and its parser, and what a reader should know.
type declaration struct {
	name      string
	aliases   []string
	form      string // how it is written
	doc       string
	example   string
	supported bool
	hidden    bool
	parse     func(p *parser, word string, at Span) operator
}

// operators lists every tabular operator. Each is declared in its own file.
func operators() []*declaration { return operatorTable().list }

// operatorNamed gives the operator of a name, or nil.
func operatorNamed(word string) *declaration { return operatorTable().names[word] }

func operatorNames() []string {
	var names []string
	for _, o := range operators() {
		names = append(names, o.name)
	}
	return names
}

type operatorSet struct {
	list  []*declaration
	names map[string]*declaration
}

var (
	operatorOnce sync.Once
	operatorAll  operatorSet // filled once, then only read
)

func operatorTable() *operatorSet {
	operatorOnce.Do(func() {
		list := []*declaration{
			whereDecl(), projectDecl(), projectAwayDecl(), projectKeepDecl(), projectRenameDecl(), projectReorderDecl(), extendDecl(), summarizeDecl(),
			sortDecl(), topDecl(), takeDecl(), distinctDecl(), countDecl(), joinDecl(), lookupDecl(), unionDecl(), mvExpandDecl(), mvApplyDecl(),
			parseDecl(), parseWhereDecl(), parseKVDecl(), renderDecl(), serializeDecl(), asDecl(), getschemaDecl(), searchDecl(), invokeDecl(),
			consumeDecl(), evaluateDecl(), makeSeriesDecl(), sampleDecl(), sampleDistinctDecl(), topNestedDecl(), topHittersDecl(), partitionDecl(),
			scanDecl(), forkDecl(), facetDecl(), reduceDecl(),
		}
		names := map[string]*declaration{}
		for _, d := range list {
			names[d.name] = d
			for _, a := range d.aliases {
				names[a] = d
			}
		}
		sort.SliceStable(list, func(i, j int) bool { return list[i].name < list[j].name })
		operatorAll = operatorSet{list, names}
	})
	return &operatorAll
}
