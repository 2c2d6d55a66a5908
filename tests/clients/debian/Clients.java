// Clients in Java: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list. OkHttp and Okio
// must be on the class path.

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okio.BufferedSource;

class Clients {
    interface Client {
        void read(String url) throws Exception;
    }

    static final Map<String, Client> CLIENTS = new TreeMap<>(Map.of(
        "java-httpclient", Clients::httpClient,
        "java-urlconn", Clients::urlConnection,
        "java-okhttp", Clients::okHttp));

    static void httpClient(String url) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
        HttpClient.newHttpClient().send(request, BodyHandlers.ofLines()).body().forEach(Clients::line);
    }

    static void urlConnection(String url) throws Exception {
        InputStream body = new URL(url).openConnection().getInputStream();
        byte[] buffer = new byte[8192];
        for (int size; (size = body.read(buffer)) != -1; ) {
            System.out.write(buffer, 0, size);
            System.out.flush();
        }
    }

    static void okHttp(String url) throws Exception {
        Request request = new Request.Builder().url(url).build();
        BufferedSource body = new OkHttpClient().newCall(request).execute().body().source();
        for (String line; (line = body.readUtf8Line()) != null; ) {
            line(line);
        }
    }

    static void line(String line) {
        System.out.writeBytes((line + "\n").getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    static String version(String name) throws IOException {
        String client = switch (name) {
            case "java-httpclient" -> "java.net.http.HttpClient";
            case "java-urlconn" -> "java.net.HttpURLConnection";
            default -> "libokhttp-java " + installed("libokhttp-java");
        };
        return client + ", Java " + Runtime.version();
    }

    static String installed(String name) throws IOException {
        Process query = new ProcessBuilder("dpkg-query", "-W", "-f", "${Version}", name).start();
        return new String(query.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }

    static void exitAtEndOfInput() {
        Thread thread = new Thread(() -> {
            try {
                System.in.transferTo(java.io.OutputStream.nullOutputStream());
            } catch (IOException e) {
                e.printStackTrace();
            }
            Runtime.getRuntime().halt(0);
        });
        thread.setDaemon(true);
        thread.start();
    }

    public static void main(String[] arguments) throws Exception {
        String name = arguments[0];
        if (name.equals("--list")) {
            CLIENTS.keySet().forEach(System.out::println);
            return;
        }
        if (arguments[1].equals("--version")) {
            System.out.println(version(name));
            return;
        }
        exitAtEndOfInput();
        try {
            CLIENTS.get(name).read(arguments[1]);
        } catch (Exception e) {
            System.err.println(e);
            System.exit(1);
        }
        System.err.println("end");
        System.exit(0);
    }
}
