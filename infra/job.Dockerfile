# The image of the job that does a day: `endcap` with all that its steps need, the JDK and BERT included.
#
#   git archive HEAD | docker build -f infra/job.Dockerfile -t IMAGE -
FROM python:3.11-slim-bookworm
WORKDIR /endcap
COPY requirements.lock ./
RUN pip install --no-cache-dir -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --editable .
ENTRYPOINT ["endcap"]
