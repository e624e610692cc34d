package machine

import "fmt"

// Effects are what a call of the machine wants done, in order. The caller clears them.
type Effects struct {
	Replies []Reply
	// Regexes are patterns to be matched with the names of all topics; the outcome comes back with Coordinator.RegexResolved.
	Regexes []RegexToResolve
	// Notices are for logs and events.
	Notices []Notice
}

// Reply answers the request that Step was given with this id. A reply may come long after its request, but never before what it says is written.
type Reply struct {
	ID     uint64
	Err    error
	Result any // the request's own type of result; may be nil with an error
}

// RegexToResolve asks which topics a pattern matches.
type RegexToResolve struct {
	Group string
	Regex string
}

// Notice says in words what happened to a group.
type Notice struct {
	Group string
	Text  string
}

func (fx *Effects) reply(id uint64, result any) {
	fx.Replies = append(fx.Replies, Reply{ID: id, Result: result})
}

func (fx *Effects) refuse(id uint64, err error) {
	fx.Replies = append(fx.Replies, Reply{ID: id, Err: err})
}

func (fx *Effects) refuseWith(id uint64, err error, result any) {
	fx.Replies = append(fx.Replies, Reply{ID: id, Err: err, Result: result})
}

func (fx *Effects) note(group, format string, args ...any) {
	fx.Notices = append(fx.Notices, Notice{Group: group, Text: fmt.Sprintf(format, args...)})
}

// Reset empties the effects and keeps their memory.
func (fx *Effects) Reset() {
	clear(fx.Replies)
	clear(fx.Regexes)
	clear(fx.Notices)
	fx.Replies, fx.Regexes, fx.Notices = fx.Replies[:0], fx.Regexes[:0], fx.Notices[:0]
}
