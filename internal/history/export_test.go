package history

// Steps is how many rounds the loops of a check made, but for sorting.
func (r Report) Steps() int64 { return r.steps }
