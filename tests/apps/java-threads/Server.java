import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.locks.LockSupport;

/**
 * A web service that says which thread writes each of its responses: the virtual thread that has read the request (/virtual, by its id) or a
 * platform thread (/platform). GARBAGE=1: all objects are moved again and again meanwhile. IDLE_THREADS: so many platform threads do nothing, which
 * are younger than those that carry virtual ones. For Java 21 and newer; it can be compiled by an older one.
 */
public final class Server {
    private static final ExecutorService PLATFORM = Executors.newFixedThreadPool(4);

    public static void main(String[] arguments) throws Exception {
        var virtual = (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        if (number("GARBAGE") == 1) {
            var collector = new Thread(Server::collect);
            collector.setDaemon(true);
            collector.start();
        }
        virtual.submit(() -> {}).get();
        for (int i = number("IDLE_THREADS"); i > 0; i--) {
            var idle = new Thread(LockSupport::park);
            idle.setDaemon(true);
            idle.start();
        }
        var port = number("PORT");
        try (var server = new ServerSocket(port, 128, InetAddress.getByName("127.0.0.1"))) {
            while (true) {
                var connection = server.accept();
                virtual.submit(() -> serve(connection));
            }
        }
    }

    private static int number(String variable) {
        return Integer.parseInt(System.getenv().getOrDefault(variable, "0"));
    }

    private static Void serve(Socket connection) throws Exception {
        try (connection) {
            while (true) {
                var head = head(connection.getInputStream());
                if (head.isEmpty()) {
                    return null;
                }
                // Others go on, perhaps on this thread's carrier, and this one on another.
                Thread.sleep(1);
                if (head.startsWith("GET /platform")) {
                    PLATFORM.submit(() -> respond(connection, "none")).get();
                } else {
                    respond(connection, Long.toString(Thread.currentThread().getId()));
                }
            }
        }
    }

    private static String head(InputStream input) throws IOException {
        var head = new StringBuilder();
        var bytes = new byte[4096];
        while (head.indexOf("\r\n\r\n") < 0) {
            var read = input.read(bytes);
            if (read < 0) {
                return "";
            }
            head.append(new String(bytes, 0, read));
        }
        return head.toString();
    }

    private static Void respond(Socket connection, String thread) throws IOException {
        var body = "thread=" + thread + "\n";
        var response = "HTTP/1.1 200 OK\r\nContent-Length: " + body.length() + "\r\n\r\n" + body;
        connection.getOutputStream().write(response.getBytes());
        return null;
    }

    private static void collect() {
        while (true) {
            // What is let go leaves room before what stays.
            var garbage = new byte[512][];
            for (int i = 0; i < garbage.length; i++) {
                garbage[i] = new byte[1024];
            }
            System.gc();
        }
    }
}
