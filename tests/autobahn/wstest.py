"""The testsuite's `wstest`, except that its server listens on the loopback interface only: by itself it would on all."""

# Before anything else of Twisted, as `wstest` itself has it: chooses the event loop.
import autobahntestsuite.choosereactor
from autobahntestsuite import wstest
from twisted.internet import reactor

listen = reactor.listenTCP
reactor.listenTCP = lambda port, factory, backlog=50, interface="": listen(port, factory, backlog, "127.0.0.1")

wstest.run()
