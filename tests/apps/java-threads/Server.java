import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * A web service that says which thread writes each of its responses: the virtual thread that has read the request (/virtual, by its id) or a
 * platform thread (/platform). GARBAGE=1: all objects are moved again and again meanwhile. For Java 21 and newer; it can be compiled by an older one.
 */
public final class Server {
    private static final ExecutorService PLATFORM = Executors.newFixedThreadPool(4);

    public static void main(String[] arguments) throws Exception {
        var virtual = (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        if ("1".equals(System.getenv("GARBAGE"))) {
            var collector = new Thread(Server::collect);
            collector.setDaemon(true);
            collector.start();
        }
        var port = Integer.parseInt(System.getenv("PORT"));
        try (var server = new ServerSocket(port, 128, InetAddress.getByName("127.0.0.1"))) {
            while (true) {
                var connection = server.accept();
                virtual.submit(() -> serve(connection));
            }
        }
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
