package shop;

import java.io.IOException;
import java.util.Locale;

/** What is done for a request: two statements and a call between them. Each carries the request's id. */
final class Steps {
    private final Database database;
    private final Downstream downstream;

    Steps(Database database, Downstream downstream) {
        this.database = database;
        this.downstream = downstream;
    }

    String all(String name, String id) {
        return query(name, id, "a") + item(id) + query(name, id, "b");
    }

    /** A statement that takes 0 to 4 ms, depending on the id, so that requests overtake each other. */
    String query(String name, String id, String step) {
        var seconds = Long.parseLong(id) * 7919 % 5 / 1000.0;
        return database.query(
                        String.format(Locale.ROOT, "SELECT '%s-%s-%s', pg_sleep(%.3f)", name, id, step, seconds))
                + "\n";
    }

    String item(String id) {
        try {
            return downstream.get("/item?id=" + id);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(error);
        }
    }
}
