package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogRedis sends what the Redis client has to say, which is of the process as
// a whole, to a logger: what matters of it is an error where it is used, too.
func LogRedis(logger *slog.Logger) { redis.SetLogger(redisLog{logger}) }

type redisLog struct{ logger *slog.Logger }

// Printf logs at the level debug.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.logger.DebugContext(ctx, "the Redis client says: "+fmt.Sprintf(format, args...))
}
