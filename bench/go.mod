module github.com/insynclog/insync/bench

go 1.26.0

require github.com/insynclog/insync v0.0.0

replace github.com/insynclog/insync => ../
