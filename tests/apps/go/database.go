package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"
)

// database gives the first column of a statement's first row.
type database interface {
	query(ctx context.Context, statement string) (string, error)
}

// statement takes 0 to 4 ms, depending on the id, so that requests overtake each other.
func statement(name, id, step string) string {
	number, _ := strconv.ParseInt(id, 10, 64) // digits only
	return fmt.Sprintf("SELECT '%s-%s-%s', pg_sleep(%.3f)", name, id, step, float64(number*7919%5)/1000)
}

func poolSize() int {
	size, err := strconv.Atoi(os.Getenv("POOL_SIZE"))
	if err != nil {
		return 20
	}
	return size
}

// pgxPool is pgx with its own pool. Both drivers read the variables PGHOST, PGPORT, PGUSER and PGDATABASE.
type pgxPool struct{ *pgxpool.Pool }

func openPool(ctx context.Context) (database, error) {
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(poolSize())
	pool, err := pgxpool.NewWithConfig(ctx, config)
	return pgxPool{pool}, err
}

func (pool pgxPool) query(ctx context.Context, statement string) (marker string, err error) {
	err = pool.QueryRow(ctx, statement).Scan(&marker, nil)
	return
}

// standardPool is lib/pq behind database/sql.
type standardPool struct{ *sql.DB }

func openStandard() (database, error) {
	pool, err := sql.Open("postgres", "sslmode=disable")
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(poolSize())
	pool.SetMaxIdleConns(poolSize())
	return standardPool{pool}, nil
}

func (pool standardPool) query(ctx context.Context, statement string) (marker string, err error) {
	var nothing any
	err = pool.QueryRowContext(ctx, statement).Scan(&marker, &nothing)
	return
}
