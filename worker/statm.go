package worker

import (
	"fmt"
	"os"
)

// procStatm returns the resident pages of this process; an error where there is
// no /proc.
func procStatm() (resident int64, err error) {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		return 0, err
	}
	return resident, nil
}
