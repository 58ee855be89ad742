#include "engine/channel/factory/memory_endpoints.h"

namespace ferry {

std::shared_ptr<memory_endpoints> memory_endpoints::create(pair_maker make) {
  FERRY_CHECK(make);
  return std::shared_ptr<memory_endpoints>(new memory_endpoints(std::move(make)));
}

memory_endpoints::listening::~listening() {
  if (const auto with = with_.lock()) with->stop(name_, id_);
}

result<memory_endpoints::listening, channel_error> memory_endpoints::listen(const std::string& name,
                                                                            channel_options options,
                                                                            acceptor accept) {
  FERRY_CHECK(accept);
  const std::lock_guard lock(mutex_);
  if (endpoints_.contains(name)) {
    return channel_error(errc::refused, "somebody listens in this process as " + name);
  }
  const std::uint64_t id = ++last_id_;
  endpoints_.emplace(
      name, std::make_shared<const endpoint>(endpoint{id, std::move(options), std::move(accept)}));
  return listening(weak_from_this(), name, id);
}

channel_result memory_endpoints::connect(const connect_request& request) {
  std::shared_ptr<const endpoint> found;
  {
    const std::lock_guard lock(mutex_);
    const auto known = endpoints_.find(request.address);
    if (known != endpoints_.end()) found = known->second;
  }
  if (!found) {
    return channel_error(errc::connection_failed,
                         "nobody listens in this process as " + request.address);
  }
  // No lock from here on: both calls below may do as they like.
  auto ends = make_(request.instance, request.options, found->options);
  if (!ends) return std::move(ends).error();
  if (const auto accepted = found->accept(std::move(ends->second)); !accepted) {
    ends->first->close();
    return accepted.error();
  }
  return std::move(ends->first);
}

ferry::connector memory_endpoints::connector() {
  return [self = shared_from_this()](const connect_request& request) {
    return self->connect(request);
  };
}

// By id: a late end of an old listener must not take a new one of the same name away.
void memory_endpoints::stop(const std::string& name, std::uint64_t id) {
  std::shared_ptr<const endpoint> last;  // its acceptor is destroyed without the lock
  const std::lock_guard lock(mutex_);
  const auto known = endpoints_.find(name);
  if (known == endpoints_.end() || known->second->id != id) return;
  last = std::move(known->second);
  endpoints_.erase(known);
}

}  // namespace ferry
