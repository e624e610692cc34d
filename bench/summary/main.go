// Command summary reads the output of several runs of the benchmarks and prints the medians as a table, with the ratio of each to its limit.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := summarize(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

// units are what is shown of a benchmark, in this order.
var units = []string{"records/s", "MB/s", "p50-µs", "p99-µs", "cpu-s/Mrecord", "cpu-µs/op", "allocs/op"}

// results are the values of every run, by benchmark and unit. names has the benchmarks in the order of their first appearance, without their last element.
type results struct {
	names  []string
	values map[string]map[string][]float64
}

func summarize(in io.Reader, out io.Writer) error {
	r := results{values: make(map[string]map[string][]float64)}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		r.add(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return err
	}
	_, err := io.WriteString(out, r.table())
	return err
}

// add takes one line: BenchmarkName-2  N  value unit  value unit ...
func (r *results) add(line string) {
	f := strings.Fields(line)
	if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
		return
	}
	name := strings.TrimPrefix(f[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i] // GOMAXPROCS
	}
	if path, _ := split(name); !slices.Contains(r.names, path) {
		r.names = append(r.names, path)
	}
	if r.values[name] == nil {
		r.values[name] = make(map[string][]float64)
	}
	for i := 2; i+1 < len(f); i += 2 {
		if v, err := strconv.ParseFloat(f[i], 64); err == nil {
			r.values[name][f[i+1]] = append(r.values[name][f[i+1]], v)
		}
	}
}

// split takes the last element off a name.
func split(name string) (path, of string) {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)], name[i+1:]
}

func (r *results) table() string {
	var b strings.Builder
	b.WriteString("| benchmark | unit | insync | limit | ratio | runs |\n|---|---|---:|---:|---:|---:|\n")
	for _, path := range r.names {
		insync, limit := r.values[path+"/insync"], r.values[path+"/limit"]
		for _, unit := range units {
			if len(insync[unit]) == 0 || unit == "MB/s" && len(insync["records/s"]) > 0 {
				continue
			}
			l, ratio := "", ""
			if len(limit[unit]) > 0 {
				l = format(median(limit[unit]))
				ratio = strconv.FormatFloat(median(insync[unit])/median(limit[unit]), 'f', 2, 64)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d |\n", path, unit, format(median(insync[unit])), l, ratio, len(insync[unit]))
		}
	}
	return b.String()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// format rounds to three digits.
func format(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'f', 0, 64) + " k"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}
