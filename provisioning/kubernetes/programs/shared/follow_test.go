package shared

import "testing"

func TestPausesStayShort(t *testing.T) {
	backOff := FirstBackOff
	for i := 0; i < 20; i++ {
		last := backOff
		if backOff = NextBackOff(last); backOff < last || backOff > MaxBackOff {
			t.Fatalf("%s after %s", backOff, last)
		}
	}
	if backOff != MaxBackOff {
		t.Errorf("%s at last", backOff)
	}
}
