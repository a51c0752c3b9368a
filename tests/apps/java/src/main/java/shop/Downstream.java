package shop;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import org.apache.hc.client5.http.classic.methods.HttpGet;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.client5.http.impl.io.PoolingHttpClientConnectionManagerBuilder;
import org.apache.hc.core5.http.io.entity.EntityUtils;

/** The service that this one calls, if it has one. */
interface Downstream {
    /** The body of the answer to `GET path`. */
    String get(String path) throws IOException, InterruptedException;

    /** What `DOWNSTREAM` names, by the client that `HTTP_CLIENT` names; empty answers without a service. */
    static Downstream chosen() {
        var base = System.getenv("DOWNSTREAM");
        if (base == null) {
            return path -> "";
        }
        return Environment.text("HTTP_CLIENT", "apache").equals("jdk") ? jdk(base) : apache(base);
    }

    /** Writes and reads in the thread that calls. */
    private static Downstream apache(String base) {
        var connections =
                PoolingHttpClientConnectionManagerBuilder.create().setMaxConnPerRoute(64).setMaxConnTotal(64).build();
        var client = HttpClients.custom().setConnectionManager(connections).build();
        return path -> client.execute(new HttpGet(base + path), response -> EntityUtils.toString(response.getEntity()));
    }

    /** Writes and reads in threads of its own. */
    private static Downstream jdk(String base) {
        var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        return path ->
                client.send(HttpRequest.newBuilder(URI.create(base + path)).build(), BodyHandlers.ofString()).body();
    }
}
