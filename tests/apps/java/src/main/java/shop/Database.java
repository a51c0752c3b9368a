package shop;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.SQLException;

/** PostgreSQL through a pool of connections. */
final class Database {
    private final HikariDataSource pool;

    Database() {
        var config = new HikariConfig();
        config.setJdbcUrl("jdbc:postgresql://%s:%s/%s"
                .formatted(System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE")));
        config.setUsername(System.getenv("PGUSER"));
        config.setMaximumPoolSize(Environment.number("POOL_SIZE", 20));
        pool = new HikariDataSource(config);
    }

    /** The first column of the first row. */
    String query(String statement) {
        try (var connection = pool.getConnection();
                var prepared = connection.prepareStatement(statement);
                var rows = prepared.executeQuery()) {
            rows.next();
            return rows.getString(1);
        } catch (SQLException error) {
            throw new IllegalStateException(error);
        }
    }
}
