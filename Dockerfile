# For machines without an NVIDIA GPU. In the root of the project:
#
#     docker build -t nglkeras .
#     docker run --rm -v "$PWD/results:/nglkeras/results" nglkeras table2 --scale reduced
FROM python:3.12-slim
WORKDIR /nglkeras
COPY . .
RUN pip install --no-cache-dir -r requirements-cpu.txt
ENTRYPOINT ["nglkeras"]
