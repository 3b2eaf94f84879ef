package scoreboard

import "os"

func temporaryFile() (*os.File, error) {
	f, err := os.CreateTemp("", "racecar-scoreboard-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
