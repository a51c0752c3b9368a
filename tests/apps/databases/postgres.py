"""PostgreSQL by psycopg, each scenario a function: postgres.py NAME. libpq's environment says where."""

import signal
import sys

import psycopg


def fails(connection, statement, parameters, error):
    try:
        connection.execute(statement, parameters)
    except error:
        return
    raise AssertionError(f"{statement} did not fail")


def statements():
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE items (id int PRIMARY KEY, text text)")
        cursor = connection.cursor()
        with cursor.copy("COPY items FROM STDIN") as copy:
            for number in range(2000):
                copy.write_row((number, "copied" * 10))
        with cursor.copy("COPY items TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 2000
        connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        fails(connection, "SELECT * FROM missing", None, psycopg.errors.UndefinedTable)
        fails(connection, "SELECT 1 / %s::int", [0], psycopg.errors.DivisionByZero)
        fails(connection, "INSERT INTO items VALUES (7)", None, psycopg.errors.UniqueViolation)
        connection.execute("SELECT 'one'; SELECT 'two'")
        fails(connection, "SELECT 'three'; SELECT 'four' FROM missing; SELECT 'five'", None, psycopg.errors.UndefinedTable)
        with connection.transaction():
            connection.execute("UPDATE items SET text = 'new' WHERE id = %s", [7])
        for number in range(3):
            connection.execute("SELECT 'prepared', %s::int", [number], prepare=True)


def large():
    with psycopg.connect(autocommit=True) as connection:
        rows = connection.execute("SELECT number, 'a row of the result' FROM generate_series(1, 50000) AS number").fetchall()
        assert len(rows) == 50_000
        connection.execute("CREATE TEMP TABLE texts (text text)")
        connection.execute("INSERT INTO texts VALUES ('" + "x" * 1_000_000 + "')")
        connection.execute("INSERT INTO texts VALUES (%s)", ["x" * 1_000_000])
        assert connection.execute("SELECT sum(length(text)) FROM texts").fetchone() == (2_000_000,)


def prepared_before():
    """SIGUSR1 says that the agent is ready."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("SELECT 'before', %s::int", [0], prepare=True)
        print("open", flush=True)
        signal.sigwait([signal.SIGUSR1])
        for number in range(2):
            assert connection.execute("SELECT 'before', %s::int", [number], prepare=True).fetchone()[1] == number
        connection.execute("SELECT 'after', %s::int", [3], prepare=True)
        connection.execute("SELECT 'simple'")


globals()[sys.argv[1]]()
