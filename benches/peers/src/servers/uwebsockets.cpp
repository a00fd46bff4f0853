// uWebSockets as `servers` measures it, where its source is at hand. Takes --port P and --mode echo or broadcast.

#include "App.h"

#include <cstdlib>
#include <cstring>

struct Nothing {};

int main(int count, char **arguments) {
    int port = 0;
    bool broadcast = false;
    for (int at = 1; at + 1 < count; at += 2) {
        if (!std::strcmp(arguments[at], "--port")) port = std::atoi(arguments[at + 1]);
        if (!std::strcmp(arguments[at], "--mode")) broadcast = !std::strcmp(arguments[at + 1], "broadcast");
    }
    uWS::App app;
    uWS::App::WebSocketBehavior<Nothing> behavior;
    behavior.compression = uWS::DISABLED;
    behavior.maxPayloadLength = 1024 * 1024;
    behavior.maxBackpressure = 1024 * 1024;
    behavior.idleTimeout = 120;
    if (broadcast) {
        behavior.open = [](auto *socket) { socket->subscribe("all"); };
        behavior.message = [&app](auto *, std::string_view message, uWS::OpCode code) {
            app.publish("all", message, code);
        };
    } else {
        behavior.message = [](auto *socket, std::string_view message, uWS::OpCode code) { socket->send(message, code); };
    }
    app.ws<Nothing>("/*", std::move(behavior));
    app.listen("127.0.0.1", port, [](auto *listening) {
        if (!listening) std::exit(1);
    });
    app.run();
}
