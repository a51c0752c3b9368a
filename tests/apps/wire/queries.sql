SELECT 'fixed' AS marker, 42 AS number;
CREATE TEMPORARY TABLE wire (id int, text text);
INSERT INTO wire SELECT id, 'row ' || id FROM generate_series(1, 100) AS id;
SELECT count(*), max(text) FROM wire WHERE text LIKE 'row 1%';
SELECT repeat('w', 300000);
SELECT no_such_column FROM wire;
BEGIN;
UPDATE wire SET text = 'changed' WHERE id = 7;
COMMIT;
