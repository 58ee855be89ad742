// A connection to a listener, made by hand: nothing has been said on it yet.
#pragma once
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>

#include "shm/unique_fd.h"

namespace ferry {

inline unique_fd raw_dial(const std::string& transport, const std::string& address) {
  if (transport == "tcp" || transport == "tls") {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto port = address.substr(address.rfind(':') + 1);
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port)));
    unique_fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return socket;
  }
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address.data(), address.size());
  const int type = transport == "unix" ? SOCK_STREAM : SOCK_SEQPACKET;
  unique_fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return socket;
}

}  // namespace ferry
