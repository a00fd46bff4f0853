// uWebSockets as `servers` measures it, where its source is at hand. Takes --port P and --mode echo, deflate (an echo with
// permessage-deflate and context takeover, always at zlib's default level) or broadcast.

#include "App.h"

#include <cstdlib>
#include <cstring>

struct Nothing {};

int main(int count, char **arguments) {
    int port = 0;
    bool broadcast = false, deflate = false;
    for (int at = 1; at + 1 < count; at += 2) {
        if (!std::strcmp(arguments[at], "--port")) port = std::atoi(arguments[at + 1]);
        if (std::strcmp(arguments[at], "--mode")) continue;
        broadcast = !std::strcmp(arguments[at + 1], "broadcast");
        deflate = !std::strcmp(arguments[at + 1], "deflate");
    }
    uWS::App app;
    uWS::App::WebSocketBehavior<Nothing> behavior;
    behavior.compression = uWS::DISABLED;
    if (deflate) behavior.compression = uWS::CompressOptions(uWS::DEDICATED_COMPRESSOR | uWS::DEDICATED_DECOMPRESSOR);
    behavior.maxPayloadLength = 1024 * 1024;
    behavior.maxBackpressure = 1024 * 1024;
    behavior.idleTimeout = 120;
    if (broadcast) {
        behavior.open = [](auto *socket) { socket->subscribe("all"); };
        behavior.message = [&app](auto *, std::string_view message, uWS::OpCode code) {
            app.publish("all", message, code);
        };
    } else {
        behavior.message = [deflate](auto *socket, std::string_view message, uWS::OpCode code) {
            socket->send(message, code, deflate);
        };
    }
    app.ws<Nothing>("/*", std::move(behavior));
    app.listen("127.0.0.1", port, [](auto *listening) {
        if (!listening) std::exit(1);
    });
    app.run();
}
