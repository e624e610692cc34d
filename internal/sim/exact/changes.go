package main

// knows is the Go that the changes are made for, and sums are the SHA-256 of its files, with lines that end in a newline. A file that differs may use what is changed in another way: it is not touched.
const knows = "go1.26.8"

var sums = map[string]string{
	"runtime/synctest.go":        "7c9fe55993868e9b06502906b38cf6d72b763b224d0f0ef605e863b4d39f4272",
	"runtime/select.go":          "93977178a5c507d2bd0bbd990613fa0c8a1d6d18b974fcbcd6c9edce6bd8b5bf",
	"runtime/time.go":            "38c7dde4ad56b211cda6216c67e8f4c1b1f3a3ea544ff25b62fc83126e8a5f5c",
	"runtime/rand.go":            "f0c4935ece88ac3861ebd5060a3507831158bcf5ac47abae5860220c0da970c5",
	"runtime/alg.go":             "c2bfd26efce12e9a8783ecb88362738a0a52bda789cce1a3f5019575f076e9cf",
	"runtime/proc.go":            "b0ea864c1dd251cd9146644863ae9126ca57761dff05862dc80ab0799925fec6",
	"testing/cryptotest/rand.go": "e1a3fececebb3d4f1ec4ad672f67b569b01a6015d5c4ab557ddb64a49a386dac",
	"internal/sync/mutex.go":     "0535ca03e44cb62cf3e4a511b989ffd0f08ec899d864e2a817b77c4025bec48c",
}

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
