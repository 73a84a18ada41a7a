package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Write prints the tables: what was done, and what each event cost.
func (r Report) Write(to io.Writer) error {
	if err := r.rates(to); err != nil {
		return err
	}
	if err := r.costs(to); err != nil {
		return err
	}
	if !measured {
		_, err := fmt.Fprintln(to, "\nProcessor time and memory are told by process on Linux alone.")
		return err
	}
	return r.processes(to)
}

func table(to io.Writer, head string) *tabwriter.Writer {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, head)
	return w
}

func (r Report) rates(to io.Writer) error {
	w := table(to, "SCENARIO\tGATEWAY\tEVENTS\tEVENTS/S\tDELIVERIES/S\tACCEPTED/S\tACCEPT MS P50\tP99\tEND TO END MS P50\tP95\tP99\tNOTE")
	for _, s := range r.Results {
		cells := []string{s.Scenario, s.Gateway}
		for _, n := range []float64{float64(s.Events), s.PerS, s.Deliveries, s.Accepted} {
			cells = append(cells, figure(n, "%.0f"))
		}
		for _, ms := range []float64{s.Request.P50, s.Request.P99, s.EndToEnd.P50, s.EndToEnd.P95, s.EndToEnd.P99} {
			cells = append(cells, figure(ms, "%.1f"))
		}
		fmt.Fprintln(w, strings.Join(append(cells, s.Note), "\t"))
	}
	return w.Flush()
}

// figure is a dash where nothing was measured.
func figure(x float64, format string) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf(format, x)
}

// costs leaves out the null gateway, which has no stores.
func (r Report) costs(to io.Writer) error {
	w := table(to, "\nEACH EVENT COST\tSQL\tREDIS\tALLOCATIONS\tBYTES IN POSTGRESQL\tIN REDIS\tROWS A STATEMENT")
	for _, s := range r.Results {
		if s.Cost == nil || s.Cost.SQL == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%.3f\t%.2f\t%.0f\t%.0f\t%.0f\t%s\n", s.Scenario, s.Cost.SQL, s.Cost.Redis, s.Cost.Allocations, s.Cost.TableBytes, s.Cost.RedisBytes,
			batches(s.Cost.Batches))
	}
	return w.Flush()
}

// batches writes them in the order of their kinds.
func batches(all map[string]float64) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, fmt.Sprintf("%s %.1f", kind, all[kind]))
	}
	return strings.Join(parts, ", ")
}

func (r Report) processes(to io.Writer) error {
	columns := []string{serverRole, agentRole, egressRole, postgresName, redisName, nullName, loadName}
	head := "\nCPU SECONDS PER 1,000 EVENTS\tGATEWAY\tALL OF IT"
	for _, name := range columns {
		head += "\t" + strings.ToUpper(name)
	}
	w := table(to, head+"\tPEAK MB, IN THE SAME ORDER")
	for _, s := range r.Results {
		if s.Cost == nil {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%.3f", s.Scenario, s.Gateway, s.Cost.gatewayCPU())
		var peaks []string
		for _, name := range columns {
			fmt.Fprintf(w, "\t%s", cell(s.Cost.CPU, name, "%.3f"))
			peaks = append(peaks, cell(s.Cost.PeakMB, name, "%.0f"))
		}
		fmt.Fprintf(w, "\t%s\n", strings.Join(peaks, " "))
	}
	return w.Flush()
}

// cell is one figure, or a dash where there is none.
func cell(all map[string]float64, name, format string) string {
	if x, ok := all[name]; ok {
		return fmt.Sprintf(format, x)
	}
	return "-"
}
