package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts runs the commands of testdata/*.txt: one machine of broker 1 as leader, and two epoch histories for truncation. -rewrite regenerates the outputs.
//
//	new [min-isr=2] [synced] [lag=30s] [hand-over=1]   a new machine, which tries for so many seconds to hand over
//	apply leader= epoch= pepoch= replicas= isr= [elr=] [hand-over=] [leo= synced= hw=]
//	append n= acks=all|leader|none [name=] [dup=END] [epoch=]
//	synced OFFSET | fetch ID offset= [broker-epoch=] | tick | retry | wait 10s
//	answer applied pepoch= isr= [epoch=] | not-applied | await-update | unanswered   [attempt=]
//	step-down EPOCH | handed-over
//	settings min-isr= [synced] | fence ID | unfence ID | cancel NAME | storage-failed | stop | followers
//	leader-log / follower-log EPOCH:START,... end= [start=] | follow | bounds ... | range ...
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		e := &env{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return e.run(t, d) })
	})
}

type env struct {
	m       *Machine
	fx      Effects
	now     time.Time
	fenced  []int32
	waiters map[string]*Waiter
	logEnd  int64

	leaderLog, followerLog epochLog
}

func (e *env) run(t *testing.T, d *datadriven.TestData) string {
	a := args{t: t, d: d}
	e.fx.Reset()
	var out strings.Builder
	switch d.Cmd {
	case "new":
		e.now = time.Unix(1000, 0)
		e.fenced, e.waiters = nil, map[string]*Waiter{}
		e.m = New(1, e.settings(a), func(id int32, _ int64) bool { return !slices.Contains(e.fenced, id) })
	case "settings":
		e.m.SetSettings(e.settings(a), e.now, &e.fx)
	case "apply":
		s := State{Leader: a.id("leader"), LeaderEpoch: a.id("epoch"), PartitionEpoch: a.id("pepoch"), Replicas: a.ids("replicas"), ISR: a.ids("isr"), ELR: a.ids("elr"), HandOver: a.ids("hand-over")}
		e.logEnd = a.num("leo", e.logEnd)
		e.m.Apply(s, Positions{LogEnd: e.logEnd, SyncedEnd: a.num("synced", e.logEnd), HighWatermark: a.num("hw", 0)}, e.now, &e.fx)
	case "append":
		e.append(a, &out)
	case "synced":
		e.m.Synced(a.first(), e.now, &e.fx)
	case "fetch":
		ok := e.m.FollowerFetched(Fetched{Follower: int32(a.first()), BrokerEpoch: a.num("broker-epoch", -1), Offset: a.num("offset", 0), LogEnd: e.logEnd}, e.now, &e.fx)
		if !ok {
			out.WriteString("refused\n")
		}
	case "tick":
		e.m.Tick(e.now, &e.fx)
	case "retry":
		e.m.Retry(e.now, &e.fx)
	case "wait":
		dur, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		e.now = e.now.Add(dur)
	case "answer":
		e.answer(a)
	case "fence":
		e.fenced = append(e.fenced, int32(a.first()))
	case "unfence":
		e.fenced = slices.DeleteFunc(e.fenced, func(id int32) bool { return id == int32(a.first()) })
	case "cancel":
		fmt.Fprintf(&out, "cancelled=%v\n", e.m.Cancel(e.waiters[d.CmdArgs[0].Key]))
	case "storage-failed":
		e.m.StorageFailed(&e.fx)
	case "step-down":
		e.m.StepDown(int32(a.first()), &e.fx)
	case "handed-over":
		return fmt.Sprintf("%v\n", e.m.HandedOver())
	case "stop":
		e.m.Stop(&e.fx)
	case "check":
		fmt.Fprintf(&out, "%v\n", epochCheckNames[e.m.CheckEpoch(int32(a.num("epoch", -1)), d.HasArg("leader-only"))])
		return out.String()
	case "offset-available":
		return fmt.Sprintf("%v\n", e.m.OffsetAvailable())
	case "accepts":
		return fmt.Sprintf("%v\n", e.m.AcceptsFetched(int32(a.num("epoch", 0)), Position{a.num("offset", 0), a.id("last")}, Position{a.num("leo", 0), a.id("now")}))
	case "followers":
		return e.followers()
	case "leader-log":
		e.leaderLog = a.log()
		return ""
	case "follower-log":
		e.followerLog = a.log()
		return ""
	case "follow":
		return e.follow()
	case "range":
		action, to := OutOfRange(a.num("leader-start", 0), a.num("leader-end", 0), a.num("leo", 0))
		return fmt.Sprintf("%v %d\n", action, to)
	case "bounds":
		hw, start := FollowerBounds(a.num("leader-hw", 0), a.num("leader-start", 0), a.num("hw", 0), a.num("start", 0), a.num("leo", 0))
		return fmt.Sprintf("hw=%d start=%d\n", hw, start)
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	e.effects(&out)
	e.state(&out)
	return out.String()
}

var epochCheckNames = map[EpochCheck]string{EpochOK: "ok", EpochFenced: "fenced", EpochUnknown: "unknown", NotLeader: "not-leader", HandsOver: "hands-over"}

func (e *env) settings(a args) Settings {
	lag := 30 * time.Second
	if a.d.HasArg("lag") {
		lag = time.Duration(a.num("lag", 0)) * time.Second
	}
	return Settings{MinISR: int(a.num("min-isr", 1)), Synced: a.d.HasArg("synced"), LagTime: lag, HandOverTime: time.Duration(a.num("hand-over", 0)) * time.Second}
}

func (e *env) append(a args, out *strings.Builder) {
	acks := map[string]Acks{"all": AcksAll, "leader": AcksLeader, "none": AcksNone}[a.str("acks", "all")]
	if check, enough := e.m.CheckAppend(acks, int32(a.num("epoch", -1))); check != EpochOK {
		fmt.Fprintf(out, "refused: %s\n", epochCheckNames[check])
		return
	} else if !enough {
		out.WriteString("refused: not-enough-replicas\n")
		return
	}
	end := a.num("dup", -1)
	if end < 0 {
		e.logEnd += a.num("n", 1)
		end = e.logEnd
		e.m.Appended(e.logEnd, e.now, &e.fx)
	}
	name := a.str("name", fmt.Sprintf("end-%d", end))
	if o := e.m.Outcome(acks, end); o != Waiting {
		fmt.Fprintf(out, "%s %v at once\n", name, o)
		return
	}
	w := &Waiter{Owner: name}
	e.waiters[name] = w
	e.m.Wait(w, acks, end)
	fmt.Fprintf(out, "%s waits for %d\n", name, end)
}

func (e *env) answer(a args) {
	kind := map[string]Answer{"applied": Applied, "not-applied": NotApplied, "await-update": AwaitUpdate, "unanswered": Unanswered}[a.d.CmdArgs[0].Key]
	s := State{LeaderEpoch: int32(a.num("epoch", int64(e.m.LeaderEpoch()))), PartitionEpoch: int32(a.num("pepoch", 0)), ISR: a.ids("isr")}
	e.m.Answered(uint64(a.num("attempt", int64(e.m.isr.attempt))), kind, s, e.now, &e.fx)
}

func (e *env) effects(out *strings.Builder) {
	fx := &e.fx
	if fx.StartEpoch {
		fmt.Fprintf(out, "-> start epoch %d at %d\n", e.m.LeaderEpoch(), e.m.EpochStart())
	}
	if fx.HighWatermark >= 0 {
		fmt.Fprintf(out, "-> high watermark %d\n", fx.HighWatermark)
	}
	for w := fx.Completed(); w != nil; w = w.Next() {
		fmt.Fprintf(out, "-> %v %v\n", w.Owner, w.Outcome)
	}
	if fx.RoleChanged {
		out.WriteString("-> role or epoch changed\n")
	}
	if fx.ISRChanged {
		out.WriteString("-> isr changed\n")
	}
	if fx.Propose {
		fmt.Fprintf(out, "-> propose #%d leader-epoch=%d partition-epoch=%d isr=", fx.Proposal.Attempt, fx.Proposal.LeaderEpoch, fx.Proposal.PartitionEpoch)
		for i, m := range fx.Proposal.Members {
			if i > 0 {
				out.WriteString(",")
			}
			fmt.Fprintf(out, "%d", m.ID)
			if m.Epoch >= 0 {
				fmt.Fprintf(out, "(epoch %d)", m.Epoch)
			}
		}
		if len(fx.Proposal.HandOver) > 0 {
			fmt.Fprintf(out, " hand-over=%s", join(fx.Proposal.HandOver))
		}
		out.WriteString("\n")
	}
	if fx.RetryIn > 0 {
		fmt.Fprintf(out, "-> retry in %v\n", fx.RetryIn)
	}
}

func (e *env) state(out *strings.Builder) {
	m := e.m
	fmt.Fprintf(out, "%v epoch=%d/%d", m.Role(), m.State().LeaderEpoch, m.State().PartitionEpoch)
	if m.Role() != Leader {
		out.WriteString("\n")
		return
	}
	fmt.Fprintf(out, " start=%d hw=%d synced=%d leo=%d isr=%s", m.EpochStart(), m.HighWatermark(), m.syncedEnd, m.logEnd, join(m.State().ISR))
	if m.PendingChange() != Committed {
		fmt.Fprintf(out, " %v maximal=%s", m.PendingChange(), join(m.MaximalISR(nil)))
	}
	for _, f := range m.Followers() {
		if f.Offset < 0 {
			fmt.Fprintf(out, "  %d@?", f.ID)
		} else {
			fmt.Fprintf(out, "  %d@%d", f.ID, f.Offset)
		}
	}
	out.WriteString("\n")
}

func (e *env) followers() string {
	var out strings.Builder
	for _, f := range e.m.Followers() {
		fmt.Fprintf(&out, "%d offset=%d in-isr=%v in-maximal=%v", f.ID, f.Offset, f.InISR, f.InMaximal)
		if !f.LastCaughtUp.IsZero() {
			fmt.Fprintf(&out, " caught-up=%v ago", e.now.Sub(f.LastCaughtUp))
		}
		out.WriteString("\n")
	}
	return out.String()
}

// follow lets the follower fetch until the leader has no objection, and tells every step.
func (e *env) follow() string {
	var out strings.Builder
	l, f := &e.leaderLog, &e.followerLog
	for range 10 {
		last := f.latest()
		own := l.endFor(last)
		fmt.Fprintf(&out, "fetch offset=%d last-epoch=%d: ", f.end, last)
		switch CheckFetch(f.end, last, own, l.start, l.end) {
		case FetchOK:
			out.WriteString("ok\n")
			return out.String()
		case FetchDiverging:
			to := TruncateTo(own, f.endFor(own.Epoch), f.end)
			f.truncate(to)
			fmt.Fprintf(&out, "diverging, leader's epoch %d ends at %d; truncate to %d\n", own.Epoch, own.End, to)
		case FetchOutOfRange:
			action, to := OutOfRange(l.start, l.end, f.end)
			fmt.Fprintf(&out, "out of range, leader has [%d, %d); %v %d\n", l.start, l.end, action, to)
			switch action {
			case TruncateLog:
				f.truncate(to)
			case RestartLog:
				*f = epochLog{start: to, end: to}
			default:
				return out.String()
			}
		}
	}
	out.WriteString("does not end\n")
	return out.String()
}

// epochLog is a log as the epoch cache sees it.
type epochLog struct {
	start, end int64
	epochs     []epochStart
}

type epochStart struct {
	epoch int32
	start int64
}

func (l *epochLog) latest() int32 {
	if len(l.epochs) == 0 {
		return -1
	}
	return l.epochs[len(l.epochs)-1].epoch
}

// endFor is the contract of log.Log.EndOffsetForEpoch (KIP-101).
func (l *epochLog) endFor(epoch int32) EpochEnd {
	if len(l.epochs) == 0 || epoch > l.latest() {
		return EpochEnd{}
	}
	found := EpochEnd{Epoch: epoch, Known: true}
	for i, e := range l.epochs {
		if e.epoch > epoch {
			found.End = e.start
			return found
		}
		found.Epoch = e.epoch
		found.End = l.end
		if i+1 < len(l.epochs) {
			found.End = l.epochs[i+1].start
		}
		if e.epoch == epoch {
			break
		}
	}
	return found
}

func (l *epochLog) truncate(to int64) {
	l.end = min(l.end, to)
	for len(l.epochs) > 0 && l.epochs[len(l.epochs)-1].start >= l.end {
		l.epochs = l.epochs[:len(l.epochs)-1]
	}
}

func join(ids []int32) string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = strconv.Itoa(int(id))
	}
	return strings.Join(s, ",")
}

// args reads a command's arguments.
type args struct {
	t *testing.T
	d *datadriven.TestData
}

func (a args) str(key, missing string) string {
	if !a.d.HasArg(key) {
		return missing
	}
	var v string
	a.d.ScanArgs(a.t, key, &v)
	return v
}

func (a args) num(key string, missing int64) int64 {
	s := a.str(key, "")
	if s == "" {
		return missing
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return n
}

func (a args) id(key string) int32 { return int32(a.num(key, -1)) }

func (a args) first() int64 {
	n, err := strconv.ParseInt(a.d.CmdArgs[0].Key, 10, 64)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return n
}

func (a args) ids(key string) []int32 {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			var ids []int32
			for _, v := range arg.Vals {
				n, err := strconv.Atoi(v)
				if err != nil {
					a.d.Fatalf(a.t, "%s: %v", key, err)
				}
				ids = append(ids, int32(n))
			}
			return ids
		}
	}
	return nil
}

// log reads epochs=0@0,1@10 end=20.
func (a args) log() epochLog {
	l := epochLog{start: a.num("start", 0), end: a.num("end", 0)}
	for _, arg := range a.d.CmdArgs {
		if arg.Key != "epochs" {
			continue
		}
		for _, v := range arg.Vals {
			epoch, start, _ := strings.Cut(v, "@")
			n, err := strconv.Atoi(epoch)
			if err != nil {
				a.d.Fatalf(a.t, "%v", err)
			}
			o, err := strconv.ParseInt(start, 10, 64)
			if err != nil {
				a.d.Fatalf(a.t, "%v", err)
			}
			l.epochs = append(l.epochs, epochStart{int32(n), o})
		}
	}
	return l
}
