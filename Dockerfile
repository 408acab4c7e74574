# The command line as an image: `docker build -t timesformer .`, or with `--build-arg TORCH=cuda` for NVIDIA GPUs.
# Run it without network, capabilities or a writable file system:
#   docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     --memory 8g --pids-limit 256 -v "$PWD/videos:/videos:ro" -v "$PWD/model:/model:ro" \
#     timesformer predict /videos --model /model --json
#
# The base is pinned by tag. To pin its content too, pass the digest that your registry shows:
#   --build-arg BASE=python:3.13-slim-trixie@sha256:...
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
ARG TORCH=cpu
ARG EXTRAS="train jobs embed serve export cloud"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY pyproject.toml requirements.lock constraints.txt README.md LICENSE ./
COPY tools ./tools
COPY src ./src
# shellcheck disable=SC2086
RUN TORCH="${TORCH}" sh tools/install_image.sh /opt/timesformer /opt/sbom.json ${EXTRAS}

FROM ${BASE}
LABEL org.opencontainers.image.title="timesformer" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Video classification with TimeSformer"
COPY --from=build /opt/timesformer /opt/timesformer
COPY --from=build /opt/sbom.json /usr/share/doc/timesformer/sbom.json
# The base's pip is not needed to run.
RUN python3 -m pip uninstall -q -y --root-user-action ignore pip \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin timesformer
# /tmp is all that needs to be writable.
ENV PATH=/opt/timesformer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["timesformer"]
CMD ["--help"]
