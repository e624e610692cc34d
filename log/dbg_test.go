package log
import ("testing";"fmt")
func TestDbg(t *testing.T){ defer func(){ }(); 
 debugHook = func(f *life, d string){ fmt.Println(d) }
 crashLives(t,51)}
