// What turns the bytes of a stream into others on their way, such as TLS.
// Threads   any: locked within.
// Errors    of all: authentication_failed (the peer is not who it should be), corrupt.
// Source    engine/channel/README.md, "TLS".
#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "engine/channel/channel_error.h"
#include "shm/result.h"

namespace ferry {

class stream_cipher {
 public:
  virtual ~stream_cipher() = default;

  // The handshake is done: plain bytes can pass.
  virtual bool open() const noexcept = 0;
  // The stream is connected: begins the handshake. flush() writes to `socket` until detach().
  virtual result<void, channel_error> begin(int socket) = 0;
  // Whoever flushes at this moment has done so when it returns; who comes later writes nothing.
  virtual void detach() noexcept = 0;
  // Goes on with the handshake; what it has to say waits for flush().
  virtual result<void, channel_error> advance() = 0;
  // Bytes from the socket.
  virtual void feed(std::span<const std::byte> sealed) = 0;
  // Plain bytes; 0: more has to be fed first, or the peer has ended.
  virtual result<std::size_t, channel_error> read(std::span<std::byte> into) = 0;
  virtual result<void, channel_error> seal(std::span<const iovec> plain) = 0;
  // Writes what is sealed to the socket. True: all of it; else the socket is full or broken.
  virtual bool flush() noexcept = 0;
  virtual bool pending() noexcept = 0;  // sealed bytes wait for flush()
  // Memory that an idle stream does not need; trim() gives it back.
  virtual bool has_spares() noexcept = 0;
  virtual void trim() noexcept = 0;
};

}  // namespace ferry
