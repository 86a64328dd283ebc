package admin

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"syscall"
	"time"
)

var started = time.Now()

// process is a snapshot of what the operating system and the Go runtime say
// about this process. What the system does not tell is zero.
type process struct {
	cpu        time.Duration
	resident   int64 // bytes
	files      int
	goroutines int
	heap       uint64 // bytes
	collected  uint64 // garbage collections
	threads    int    // that run Go code at once
}

func readProcess() process {
	p := process{goroutines: runtime.NumGoroutine(), threads: runtime.GOMAXPROCS(0)}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		p.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	// /proc/self/statm: total, resident, …, in pages.
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			p.resident = pages * int64(os.Getpagesize())
		}
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.files = len(files)
	}
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(samples)
	p.heap, p.collected = samples[0].Value.Uint64(), samples[1].Value.Uint64()
	return p
}

// The names are those of the Prometheus client libraries.
var processMetrics = []metric[process]{
	counter("process_cpu_seconds", "Processor time spent.", func(p process) float64 { return p.cpu.Seconds() }),
	gauge("process_resident_memory_bytes", "Resident memory.", func(p process) int64 { return p.resident }),
	gauge("process_open_fds", "Open file descriptors.", func(p process) int { return p.files }),
	gauge("process_start_time_seconds", "Start of the process, seconds since 1970.", func(process) float64 { return float64(started.UnixMilli()) / 1e3 }),
	gauge("go_goroutines", "Goroutines.", func(p process) int { return p.goroutines }),
	gauge("go_memstats_heap_alloc_bytes", "Bytes of objects on the heap.", func(p process) uint64 { return p.heap }),
	gauge("go_sched_gomaxprocs_threads", "Threads that run Go code at once.", func(p process) int { return p.threads }),
	counter("go_gc_cycles", "Garbage collections.", func(p process) uint64 { return p.collected }),
}
