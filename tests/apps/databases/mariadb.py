"""MariaDB by PyMySQL, each scenario a function: mariadb.py NAME. MARIADB_PORT or MARIADB_SOCKET says where."""

import os
import sys

import pymysql
from pymysql.constants import CLIENT


def connect(**options):
    where = os.environ.get("MARIADB_SOCKET")
    address = {"unix_socket": where} if where else {"host": "127.0.0.1", "port": int(os.environ["MARIADB_PORT"])}
    return pymysql.connect(user="root", database="test", autocommit=True, **address, **options)


def fails(cursor, statement, number):
    try:
        cursor.execute(statement)
    except pymysql.MySQLError as error:
        assert error.args[0] == number, error
        return
    raise AssertionError(f"{statement} did not fail")


def statements():
    with connect(client_flag=CLIENT.MULTI_STATEMENTS, local_infile=True) as connection, connection.cursor() as cursor:
        fails(cursor, "SELECT * FROM missing", 1146)
        fails(cursor, "SELECT FROM", 1064)
        cursor.execute("CREATE TEMPORARY TABLE items (id int PRIMARY KEY, text text)")
        with open(os.environ["ITEMS"], "w") as file:
            file.writelines(f"{number}\t{'loaded' * 10}\n" for number in range(2000))
        cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE items")
        cursor.execute("SELECT count(*) FROM items")
        assert cursor.fetchone() == (2000,)
        fails(cursor, "INSERT INTO items VALUES (7, '')", 1062)
        cursor.execute("SELECT 'one'; SELECT 'two'")
        assert cursor.nextset() and cursor.fetchone() == ("two",)
        cursor.execute("USE information_schema")
        cursor.execute("SELECT 'elsewhere'")
        connection.select_db("test")
        cursor.execute("SELECT 'back'")
        connection.ping(reconnect=False)


def large():
    with connect() as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT seq, 'a row of the result' FROM seq_1_to_50000") == 50_000
        cursor.execute("CREATE TEMPORARY TABLE texts (text mediumtext)")
        cursor.execute("INSERT INTO texts VALUES ('" + "x" * 1_000_000 + "')")
        cursor.execute("SELECT sum(length(text)) FROM texts")
        assert cursor.fetchone() == (1_000_000,)


globals()[sys.argv[1]]()
