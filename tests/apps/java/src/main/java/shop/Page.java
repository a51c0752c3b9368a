package shop;

import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** A page about an id, which stands in its query: `?id=7`. */
final class Page extends HttpServlet {
    /** Makes the text that is the answer. */
    interface Work {
        String text(String id) throws Exception;
    }

    private final transient Work work;

    Page(Work work) {
        this.work = work;
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response)
            throws ServletException, IOException {
        var id = request.getParameter("id");
        if (id == null || !id.matches("\\d{1,12}")) {
            response.sendError(HttpServletResponse.SC_BAD_REQUEST);
            return;
        }
        try {
            write(response, work.text(id));
        } catch (Exception error) {
            throw new ServletException(error);
        }
    }

    static void write(HttpServletResponse response, String text) throws IOException {
        var bytes = text.getBytes(StandardCharsets.UTF_8);
        response.setContentType("text/plain");
        response.setContentLength(bytes.length);
        response.getOutputStream().write(bytes);
    }
}
