#pragma once

#include <doctest/doctest.h>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/// Forks in tests.
namespace rdquant::testing {

/// Whether a child that runs `body` finds it true, within a minute.
template <typename Body>
bool child_succeeds(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
#ifdef __SANITIZE_THREAD__
    // ThreadSanitizer takes a thread of the child for the parent's that had the same stack: take other stacks
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, std::size_t{32} << 20);
    pthread_setattr_default_np(&attributes);
#endif
    alarm(60);  // ends a child that waits for ever
    _exit(body() ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace rdquant::testing
#endif
