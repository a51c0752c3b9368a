-- Carts, orders and stock. Customer 1 to 12 have three products each in their carts.
CREATE TABLE cart (customer int NOT NULL, product int NOT NULL, quantity int NOT NULL);
INSERT INTO cart SELECT customer, customer * 7 + n, 1 FROM generate_series(1, 12) customer, generate_series(1, 3) n;
CREATE INDEX ON cart (customer);
CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL, total int NOT NULL);
CREATE TABLE stock (product int PRIMARY KEY, price int NOT NULL, reserved int NOT NULL DEFAULT 0);
INSERT INTO stock SELECT n, 5 + n % 90 FROM generate_series(1, 1000) n;
