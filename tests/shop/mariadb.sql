-- Products without an index on their number, and what customers have bought: most a little, customer 7 a lot.
CREATE TABLE products (name VARCHAR(40), sku VARCHAR(40), description VARCHAR(200)) ENGINE=InnoDB;
INSERT INTO products
    SELECT CONCAT('Product ', seq), CONCAT('sku-', seq), REPEAT('very good ', 15) FROM seq_1_to_30000;
CREATE TABLE purchases (customer INT, product INT, bought INT, INDEX (customer));
INSERT INTO purchases SELECT 1 + seq % 12, 1 + seq * 37 % 30000, seq FROM seq_1_to_36;
DELETE FROM purchases WHERE customer = 7;
INSERT INTO purchases SELECT 7, 1 + seq * 41 % 30000, seq FROM seq_1_to_87;
