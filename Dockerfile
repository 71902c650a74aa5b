# lab in a container, with the programs that its experiments call:
#
#     docker build --tag lab .
#     docker run --rm --privileged lab run rp-filter
#
# Labs are network namespaces of the container; its kernel is the host's. Without --privileged lab says what is missing.
FROM debian:bookworm-slim
COPY . /usr/src/lab
RUN /usr/src/lab/tools/provision && rm -rf /var/lib/apt/lists/* /root/.cache
WORKDIR /work
ENTRYPOINT ["lab"]
CMD ["--help"]
