package millracetest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/app"
)

// use is what a process took: processor time since it began, and memory now.
type use struct {
	cpu    time.Duration
	memory int // bytes
}

// use reads proc_pid_stat(5): times are in hundredths of a second, memory is
// in pages.
func (p *program) use() use {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	number := func(field int) int {
		n, err := strconv.Atoi(fields[field-3])
		if err != nil {
			p.t.Fatal(err)
		}
		return n
	}
	return use{
		cpu:    time.Duration(number(14)+number(15)) * 10 * time.Millisecond,
		memory: number(24) * os.Getpagesize(),
	}
}

// idling is how long nothing happens.
const idling = 15 * time.Second

// TestAGatewayWithNothingToDoDoesNothing is promised less than 1 % of a core;
// twice that is let pass, as the machine has other tests to run.
func TestAGatewayWithNothingToDoDoesNothing(t *testing.T) {
	const mostMemory, mostCPU = 60 << 20, idling / 50
	for name, sources := range map[string]int{"without sources": 0, "with five topics to read": 5} {
		t.Run(name, func(t *testing.T) {
			gw := New(t, Apart(), unhurried)
			for i := range sources {
				k := newKafka(t)
				gw.Source(Kafka(k.address, k.topic, "name", fmt.Sprint(i))).Becomes("healthy")
			}
			roles := []*Role{gw.Server, gw.Agent, gw.Egress}
			settle := time.NewTimer(3 * time.Second) // what begins a start's work is over
			defer settle.Stop()
			<-settle.C
			before := map[*Role]use{}
			for _, r := range roles {
				before[r] = r.process().use()
			}
			over := time.NewTimer(idling)
			defer over.Stop()
			<-over.C
			for _, r := range roles {
				after := r.process().use()
				cpu := after.cpu - before[r].cpu
				t.Logf("the %s took %s in %s, and %.1f MB", r.name, cpu, idling, float64(after.memory)/(1<<20))
				if cpu > mostCPU {
					t.Errorf("the %s took %s of the processor in %s, want %s at most", r.name, cpu, idling, mostCPU)
				}
				if after.memory > mostMemory {
					t.Errorf("the %s has %d bytes of memory, want %d at most", r.name, after.memory, mostMemory)
				}
			}
		})
	}
}

// unhurried looks as often as a gateway does by default.
func unhurried(g *Gateway) {
	c := app.DefaultConfig().Stages.Retry
	g.settings = append(g.settings, fmt.Sprint("stages.retry.poll_interval=", c.PollInterval),
		fmt.Sprint("stages.retry.sweep_interval=", c.SweepInterval), fmt.Sprint("stages.retry.sweep_grace=", c.SweepGrace))
}
