// SPDX-License-Identifier: Apache-2.0
#include "service/listeners.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>

namespace bellhop::service {
namespace {

io::Endpoint endpoint_of(const HostPort& address) {
  return {{IpAddress::parse(address.host).value_or(IpAddress()), address.port}, {}};
}

std::vector<std::string> places_of(const PublicListenerConfig& listener, bool on) {
  std::vector<std::string> places;
  if (!on) return places;
  for (const HostPort& address : listener.addresses) places.push_back(endpoint_of(address).to_string());
  return places;
}

std::vector<std::string> public_places(const Config& config) { return places_of(config.listen_public, config.is_public()); }
std::vector<std::string> gateway_places(const Config& config) { return places_of(config.listen_gateway, config.is_gateway()); }

std::vector<std::string> admin_places(const Config& config) {
  return {endpoint_of(config.listen_admin.address).to_string(),
          io::Endpoint{{}, config.listen_admin.unix_socket}.to_string()};
}

bool holds(const std::vector<std::string>& places, const std::string& place) {
  return std::ranges::find(places, place) != places.end();
}

bool is_own(const NamedDescriptor& given) { return given.name.starts_with(Listeners::kOwn); }

// A service manager's names may hold no colon.
std::string own_name(const io::Endpoint& endpoint) {
  std::string name = std::string(Listeners::kOwn) + endpoint.to_string();
  std::ranges::replace(name, ':', '_');
  return name;
}

}  // namespace

Status Listeners::refuse(const NamedDescriptor& given, const std::string& why) {
  complaint_ = fmt::format("descriptor {} was given as \"{}\": {}", given.descriptor.get(), given.name, why);
  return fail(os_error(EINVAL));
}

Status Listeners::take(std::vector<NamedDescriptor> given, const Config& config) {
  for (NamedDescriptor& one : given) BH_CHECKED(sort(std::move(one), config));
  return {};
}

Status Listeners::sort(NamedDescriptor given, const Config& config) {
  auto endpoint = io::inherited_endpoint(given.descriptor.get());
  if (!endpoint) return refuse(given, fmt::format("it is no listening stream socket ({})", error_text(endpoint.error())));
  std::string place = endpoint->to_string();
  std::vector<std::string> on_public = public_places(config), on_gateway = gateway_places(config), on_admin = admin_places(config);
  if (is_own(given)) {
    succeeds_ = true;
    if (holds(on_public, place) || holds(on_gateway, place) || holds(on_admin, place)) {
      given_[place].push_back(std::move(given));
    } else {
      unclaimed_.push_back(given.name);  // an address that the configuration has given up
    }
    return {};
  }
  if (given.name != "public" && given.name != "gateway" && given.name != "admin") {
    return refuse(given, "the name must be \"public\", \"gateway\" or \"admin\"; set FileDescriptorName= in the socket unit");
  }
  const std::vector<std::string>& wanted = given.name == "public" ? on_public : given.name == "gateway" ? on_gateway : on_admin;
  if (!holds(wanted, place)) {
    return refuse(given, fmt::format("it listens on {}, and [listen.{}] names {}; make ListenStream= and the configuration "
                                     "agree", place, given.name, fmt::join(wanted, ", ")));
  }
  if (!given_[place].empty()) return refuse(given, place + " was given twice");
  given_[place].push_back(std::move(given));
  return {};
}

Status Listeners::open(const Config& config, unsigned cores) {
  public_.handles.resize(cores);
  gateway_.handles.resize(cores);
  if (config.is_public()) BH_CHECKED(open_shared(public_, config.listen_public, cores));
  if (config.is_gateway()) BH_CHECKED(open_shared(gateway_, config.listen_gateway, cores));
  int backlog = static_cast<int>(config.listen_public.listen_backlog);
  BH_TRY(io::Handle tcp, open_admin(endpoint_of(config.listen_admin.address), "[listen.admin] address", backlog));
  admin_handles_.push_back(tcp);
  BH_TRY(admin_address_, io::local_address(tcp));
  BH_TRY(io::Handle unix_handle, open_admin({{}, config.listen_admin.unix_socket}, "[listen.admin] unix_socket", backlog));
  admin_handles_.push_back(unix_handle);
  given_.clear();  // we have names of our own by now; who closes those is not to keep a socket that nobody accepts from
  return {};
}

Status Listeners::open_shared(Shared& listener, const PublicListenerConfig& config, unsigned cores) {
  listener.backlog = static_cast<int>(config.listen_backlog);
  for (const HostPort& address : config.addresses) BH_CHECKED(open_address(listener, address, cores));
  return {};
}

// Each socket that was given is accepted from, also where there were more cores before: connections may wait in it. Of our
// own there is one for each core at least (open_beside), and the kernel spreads connections over them; a service manager's
// single one is accepted from by all cores.
Status Listeners::open_address(Shared& listener, const HostPort& address, unsigned cores) {
  io::Endpoint endpoint = endpoint_of(address);
  std::string place = endpoint.to_string();
  auto found = given_.find(place);
  size_t given = found == given_.end() ? 0 : found->second.size();
  for (size_t i = 0; i < given; ++i) {
    const NamedDescriptor& one = found->second[i];
    unsigned sharers = is_own(one) ? 1 : cores;
    for (unsigned core = 0; core < sharers; ++core) {
      BH_TRY(io::Handle handle, adopt(one, place));
      listener.handles[is_own(one) ? i % cores : core].push_back(handle);
      if (core == 0) sockets_.push_back({handle, one.name});
      BH_TRY(endpoint.tcp, io::local_address(handle));
    }
  }
  if (given == 0) BH_CHECKED(check_vacant(endpoint, listener.what));
  for (unsigned core = 0; given == 0 && core < cores; ++core) {
    BH_TRY(io::Handle handle, open_own(endpoint, true, listener.what, listener.backlog));
    listener.handles[core].push_back(handle);
    BH_TRY(endpoint.tcp, io::local_address(handle));  // port 0 became a real one
  }
  bool own_given = given > 0 && is_own(found->second.front());
  for (size_t core = given; own_given && core < cores; ++core) {
    beside_.push_back({&listener, endpoint, static_cast<unsigned>(core)});
  }
  listener.addresses.push_back(endpoint.tcp);
  return {};
}

Status Listeners::open_beside() {
  for (const Beside& one : std::exchange(beside_, {})) {
    BH_TRY(io::Handle handle, open_own(one.endpoint, true, one.listener->what, one.listener->backlog));
    one.listener->handles[one.core].push_back(handle);
  }
  return {};
}

Result<io::Handle> Listeners::open_admin(const io::Endpoint& endpoint, std::string_view what, int backlog) {
  std::string place = endpoint.to_string();
  auto found = given_.find(place);
  if (found == given_.end()) {
    BH_CHECKED(check_vacant(endpoint, what));
    return open_own(endpoint, false, what, backlog);
  }
  const NamedDescriptor& one = found->second.front();
  BH_TRY(io::Handle handle, adopt(one, place));
  sockets_.push_back({handle, one.name});
  return handle;
}

Result<io::Handle> Listeners::open_own(const io::Endpoint& endpoint, bool shared, std::string_view what, int backlog) {
  auto handle = io::open_listener(endpoint, shared, backlog);
  if (!handle) return fail(cannot_listen(endpoint, what, handle.error()).error());
  sockets_.push_back({*handle, own_name(endpoint)});
  return handle;
}

// The kernel would let a second server share the first one's ports, and take its unix socket from it.
Status Listeners::check_vacant(const io::Endpoint& endpoint, std::string_view what) {
  if (succeeds_ || (endpoint.unix_path.empty() && endpoint.tcp.port == 0)) return {};
  Status vacant = io::check_vacant(endpoint);
  return vacant ? vacant : cannot_listen(endpoint, what, vacant.error());
}

Status Listeners::cannot_listen(const io::Endpoint& endpoint, std::string_view what, const Error& why) {
  std::string_view what_to_do =
      why == os_error(EADDRINUSE)
          ? "another server listens there; end it, take over from it with --take-over, or name another address"
      : why == os_error(ENOTSOCK) ? "there is a file that is no socket; name another path"
      : endpoint.unix_path.empty()
          ? "is it an address of this machine, and the port below 1024, which needs CAP_NET_BIND_SERVICE or a socket of the "
            "service manager?"
          : "its directory must be there and writable for this user";
  complaint_ = fmt::format("cannot listen on {} ({}): {}; {}", endpoint.to_string(), what, error_text(why), what_to_do);
  return fail(why);
}

Result<io::Handle> Listeners::adopt(const NamedDescriptor& given, const std::string& place) {
  auto adopted = io::adopt_listener(given.descriptor.get());
  if (!adopted) complaint_ = fmt::format("the inherited socket {}: {}", place, error_text(adopted.error()));
  return adopted;
}

void Listeners::close_all() {
  for (Shared* listener : {&public_, &gateway_}) {
    for (auto& handles : listener->handles) {
      for (io::Handle handle : handles) io::close(handle);
    }
    listener->handles.clear();
  }
  for (io::Handle handle : admin_handles_) io::close(handle);
  admin_handles_.clear();
  sockets_.clear();
}

std::vector<NamedDescriptor> Listeners::share(bool own_only) const {
  std::vector<NamedDescriptor> shared;
  for (const Socket& socket : sockets_) {
    if (own_only && !socket.name.starts_with(kOwn)) continue;
    // A process without a free descriptor hands over what it can; the successor opens the rest beside it.
    if (auto descriptor = io::share_listener(socket.handle)) shared.push_back({*std::move(descriptor), socket.name});
  }
  return shared;
}

}  // namespace bellhop::service
