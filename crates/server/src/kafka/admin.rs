//! `CreateTopics`, `DeleteTopics`, `DeleteRecords`, `CreatePartitions`, `DescribeConfigs`,
//! `IncrementalAlterConfigs`.

use std::collections::BTreeMap;

use longshore_engine::StreamSettings;
use longshore_engine::ask::{
    AddPartitions, ChangeStream, CreateStream, DeleteStream, TrimPartition,
};
use longshore_kafka::message::Topic;
use longshore_kafka::message::admin::{
    AlterRequest, AlterResource, Config, ConfigResult, CreateRequest, CreatedTopic, DeleteRequest,
    DeletedTopic, DescribeRequest, NewTopic, PartitionsRequest, RESOURCE_BROKER, RESOURCE_TOPIC,
    TrimRequest, put_altered, put_configs, put_create, put_deleted, put_partitions, put_trimmed,
};
use longshore_kafka::{Reply, codes};

use crate::access::{ADMIN, LOOK};

use super::codes_of::Refused;
use super::configs;
use super::face::{Face, partition};
use super::metadata::{is_topic_name, stream_id, topic_id};

const SET: i8 = 0;
const DELETE: i8 = 1;

impl Face {
    pub(super) async fn create_topics(
        &self,
        reply: &mut Reply,
        version: i16,
        request: CreateRequest,
    ) {
        let (mut topics, mut named) = (Vec::new(), BTreeMap::new());
        for topic in &request.topics {
            *named.entry(topic.name.as_str()).or_insert(0) += 1;
        }
        for topic in &request.topics {
            let twice = named.get(topic.name.as_str()).is_some_and(|count| *count > 1);
            let created = if twice {
                Err((codes::INVALID_REQUEST, "the topic is named twice".to_owned()))
            } else {
                self.create_topic(topic, request.validate_only).await
            };
            let name = topic.name.clone();
            topics.push(match created {
                Ok((id, partitions, configs)) => CreatedTopic {
                    name,
                    id,
                    error: codes::NONE,
                    message: None,
                    partitions,
                    configs,
                },
                Err((error, message)) => CreatedTopic {
                    name,
                    id: [0; 16],
                    error,
                    message: Some(message),
                    partitions: -1,
                    configs: Vec::new(),
                },
            });
        }
        put_create(reply, version, &topics);
    }

    async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<([u8; 16], i32, Vec<Config>), Refused> {
        let refused = |code, why: &str| Err((code, why.to_owned()));
        if !is_topic_name(&topic.name) {
            return refused(codes::INVALID_TOPIC_EXCEPTION, "a name has 1 to 249 of a-zA-Z0-9._-");
        }
        if topic.assigned > 0 {
            let why = "there is one broker, so replicas are not assigned by hand";
            return refused(codes::INVALID_REPLICA_ASSIGNMENT, why);
        }
        if topic.replicas != -1 && topic.replicas != 1 {
            return refused(codes::INVALID_REPLICATION_FACTOR, "there is one broker: 1 or -1");
        }
        let partitions = match topic.partitions {
            -1 => self.config.partitions_default,
            count => u32::try_from(count)
                .map_err(|_| (codes::INVALID_PARTITIONS, "a number above 0".to_owned()))?,
        };
        let mut settings = StreamSettings::default();
        for (name, value) in &topic.configs {
            configs::set(&mut settings, name, value.as_deref())
                .map_err(|why| (codes::INVALID_CONFIG, why))?;
        }
        let told = configs::of_stream(&settings);
        if validate_only {
            if !self.has(ADMIN, &topic.name) {
                return refused(codes::TOPIC_AUTHORIZATION_FAILED, "the account may not create it");
            }
            if self.stream(&topic.name).is_ok() {
                return refused(codes::TOPIC_ALREADY_EXISTS, "the topic exists");
            }
            if partitions == 0 {
                return refused(codes::INVALID_PARTITIONS, "a number above 0");
            }
            return Ok(([0; 16], partitions.cast_signed(), told));
        }
        let stream = topic.name.clone();
        let view = self.ask(CreateStream { stream, partitions, settings }).await?;
        let partitions = i32::try_from(view.partitions.len()).unwrap_or(i32::MAX);
        Ok((topic_id(&self.cluster_id, view.id), partitions, told))
    }

    pub(super) async fn delete_topics(
        &self,
        reply: &mut Reply,
        version: i16,
        request: DeleteRequest,
    ) {
        let mut topics = Vec::new();
        for (name, id) in request.topics {
            let mut topic = DeletedTopic { name, id, error: codes::NONE };
            let stream = match (&topic.name, self.log()) {
                (_, Err((code, _))) => Err(code),
                (Some(name), Ok(_)) => self.stream_as(ADMIN, name),
                (None, Ok(log)) => stream_id(&self.cluster_id, id)
                    .and_then(|number| log.stream_by_id(number))
                    .filter(|stream| stream.namespace == self.config.namespace)
                    // Numbers can be guessed: names are for those who may look.
                    .filter(|stream| self.has(LOOK, &stream.name))
                    .ok_or(codes::UNKNOWN_TOPIC_ID),
            };
            match stream {
                Err(code) => topic.error = code,
                Ok(stream) => {
                    topic.name = Some(stream.name.clone());
                    topic.id = topic_id(&self.cluster_id, stream.id);
                    let command = DeleteStream { stream: stream.name.clone() };
                    topic.error = self.ask(command).await.err().map_or(0, |(code, _)| code);
                }
            }
            topics.push(topic);
        }
        put_deleted(reply, version, &topics);
    }

    pub(super) async fn trim(&self, reply: &mut Reply, request: TrimRequest) {
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for (index, offset) in topic.partitions {
                let trimmed = self.trim_partition(&topic.name, index, offset).await;
                let start = trimmed.unwrap_or(-1);
                partitions.push((index, start, trimmed.err().unwrap_or_default()));
            }
            topics.push(Topic { name: topic.name, partitions });
        }
        put_trimmed(reply, &topics);
    }

    async fn trim_partition(&self, name: &str, index: i32, offset: i64) -> Result<i64, i16> {
        let stream = self.stream_as(ADMIN, name)?;
        let partition = partition(&stream, index)?.id();
        let start = match offset {
            -1 => None,
            offset => Some(u64::try_from(offset).map_err(|_| codes::OFFSET_OUT_OF_RANGE)?),
        };
        let start = self.ask(TrimPartition { partition, start }).await.map_err(|(code, _)| code)?;
        start.map(u64::cast_signed).ok_or(codes::OFFSET_OUT_OF_RANGE)
    }

    pub(super) async fn add_partitions(&self, reply: &mut Reply, request: PartitionsRequest) {
        let mut results = Vec::new();
        for (name, count) in request.topics {
            let has = self.stream_as(ADMIN, &name).map(|stream| stream.partitions.len());
            let partitions = u32::try_from(count).unwrap_or_default();
            let done = match has {
                Err(code) => Err((code, "no such topic".to_owned())),
                Ok(has) if partitions as usize <= has => {
                    Err((codes::INVALID_PARTITIONS, format!("it has {has} already")))
                }
                Ok(_) if request.validate_only => Ok(()),
                Ok(_) => {
                    let stream = name.clone();
                    self.ask(AddPartitions { stream, partitions }).await.map(drop)
                }
            };
            let (code, message) = done.map_or_else(|(code, why)| (code, Some(why)), |()| (0, None));
            results.push((name, code, message));
        }
        put_partitions(reply, &results);
    }

    pub(super) fn describe_configs(
        &self,
        reply: &mut Reply,
        version: i16,
        request: DescribeRequest,
    ) {
        let results = request.resources.into_iter().map(|(kind, name, only)| {
            let found = match kind {
                RESOURCE_TOPIC => {
                    self.stream_as(LOOK, &name).map(|it| configs::of_stream(&it.settings))
                }
                RESOURCE_BROKER if name.is_empty() || name == self.broker.id.to_string() => {
                    Ok(configs::of_broker(&self.config))
                }
                _ => Err(codes::INVALID_REQUEST),
            };
            let error = found.as_ref().err().copied().unwrap_or_default();
            let mut configs = found.unwrap_or_default();
            if let Some(only) = only {
                configs.retain(|config| only.iter().any(|name| name == config.name));
            }
            ConfigResult { error, message: None, kind, name, configs }
        });
        put_configs(reply, version, request.synonyms, &results.collect::<Vec<_>>());
    }

    pub(super) async fn alter_configs(&self, reply: &mut Reply, request: AlterRequest) {
        let mut results = Vec::new();
        for resource in request.resources {
            let done = self.alter(&resource, request.validate_only).await;
            let (code, message) = done.map_or_else(|(code, why)| (code, Some(why)), |()| (0, None));
            results.push((code, message, resource.kind, resource.name));
        }
        put_altered(reply, &results);
    }

    async fn alter(&self, resource: &AlterResource, validate_only: bool) -> Result<(), Refused> {
        if resource.kind != RESOURCE_TOPIC {
            let why = "only the configs of topics can be changed".to_owned();
            return Err((codes::INVALID_REQUEST, why));
        }
        let stream = self.stream_as(ADMIN, &resource.name);
        let stream = stream.map_err(|code| (code, "no such topic".to_owned()))?;
        let mut settings = stream.settings.clone();
        for config in &resource.configs {
            let value = match config.operation {
                SET => config.value.as_deref(),
                DELETE => None,
                _ => {
                    let why = format!("{} is no list that changes", config.name);
                    return Err((codes::INVALID_CONFIG, why));
                }
            };
            configs::set(&mut settings, &config.name, value)
                .map_err(|why| (codes::INVALID_CONFIG, why))?;
        }
        if !validate_only {
            let stream = resource.name.clone();
            self.ask(ChangeStream { stream, settings }).await?;
        }
        Ok(())
    }
}
