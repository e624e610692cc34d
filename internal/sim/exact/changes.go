package main

// knows is the Go whose runtime is known.
const knows = "Go 1.26"

// changes takes from the runtime what is chance in a bubble on one processor. Each text is there once.
var changes = []struct{ file, from, to string }{
	// A bubble has chance of its own. It begins anew at each instant, so that who draws once more or less at one changes nothing at the next.
	{"runtime/synctest.go", "type synctestBubble struct {\n", `//go:linkname bubbleSeed
func bubbleSeed(seed uint64) {
	if b := getg().bubble; b != nil {
		b.seed = seed
	}
}

func (b *synctestBubble) chance() uint32 {
	if b.drawnAt != b.now {
		b.drawnAt, b.draws = b.now, 0
	}
	b.draws++
	return uint32(mixChance(b.seed^mixChance(uint64(b.now))+b.draws) >> 32)
}

func mixChance(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

type synctestBubble struct {
	seed    uint64
	drawnAt int64
	draws   uint64
`},

	// Whoever seeds crypto/rand within the bubble seeds that, too.
	{"testing/cryptotest/rand.go", "//go:linkname testingCheckParallel ", `//go:linkname runtimeBubbleSeed runtime.bubbleSeed
func runtimeBubbleSeed(seed uint64)

//go:linkname testingCheckParallel `},
	{"testing/cryptotest/rand.go", "\tvar s [32]byte\n", "\truntimeBubbleSeed(seed)\n\tvar s [32]byte\n"},

	// Which of the ready cases of a select.
	{"runtime/select.go", "\t\tj := cheaprandn(uint32(norder + 1))\n", `		var j uint32
		if b := gp.bubble; b != nil {
			j = b.chance() % uint32(norder+1)
		} else {
			j = cheaprandn(uint32(norder + 1))
		}
`},

	// Which first of the timers of an instant.
	{"runtime/time.go", "t.rand = cheaprand()", "t.rand = getg().bubble.chance()"},

	// Where a range over a map begins, and where its keys are.
	{"runtime/rand.go", "func maps_rand() uint64 {\n", `func maps_rand() uint64 {
	if b := getg().bubble; b != nil {
		return mixChance(b.seed)
	}
	if true {
		return 0x9e3779b97f4a7c15
	}
`},
	{"runtime/alg.go", "\t\tkey[i] = bootstrapRand()\n", "\t\tkey[i] = mixChance(uint64(i))\n"},
	{"runtime/alg.go", "\t\thashkey[i] = uintptr(bootstrapRand())\n", "\t\thashkey[i] = uintptr(mixChance(uint64(i)))\n"},

	// A goroutine has the processor until it waits: that the machine is busy takes it from nobody. One that never waits gives it up after seconds, so that a test can run into its timeout.
	{"runtime/proc.go", "const forcePreemptNS = 10 * 1000 * 1000 // 10ms\n", "const forcePreemptNS = 10 * 1000 * 1000 * 1000\n"},

	// Those who yield wait until nobody else can run. It was every 61st turn of a count that the bubble does not begin.
	{"runtime/proc.go", "if pp.schedtick%61 == 0 && ", "if pp.schedtick%(1<<31) == 0 && "},

	// Who waits for a mutex waits in real time.
	{"internal/sync/mutex.go", "runtime_nanotime()-waitStartTime > starvationThresholdNs", "runtime_nanotime()-waitStartTime > 1e4*starvationThresholdNs"},
}
