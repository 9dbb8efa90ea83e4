package anomaly_test

import (
	"testing"

	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/engine/anomaly"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/scenario"
)

func TestScenarios(t *testing.T) {
	scenario.Engine(t, "testdata", anomaly.Engine, scenario.Plugins{Protocols: protocol.All, Engines: engine.All})
}
